"""Markers: validated at collection, all faults in one usage error, before any server starts."""

import pytest

from pytest_llmperf.judge.gate_kinds import GATE_KINDS, GateKind
from pytest_llmperf.judge.marker_keywords import number
from pytest_llmperf.plugin.collection import _STEP, steps_last
from tests.plugin.conftest import Aftermath, assert_clear

FAULTS = """
    import pytest

    @pytest.mark.efficiency(min_pct=120)
    def test_range(run_agents): pass

    @pytest.mark.contention(rate=0.01)
    def test_keyword(run_agents): pass

    @pytest.mark.throughput(min_tok_s="fast")
    def test_type(run_agents): pass

    @pytest.mark.scaling(1, 2, 3)
    def test_count(run_agents): pass

    @pytest.mark.runtime("fibres")
    def test_runtime(run_agents): pass
"""


def test_every_fault_is_listed_at_once(simulated, pytester: pytest.Pytester, aftermath: Aftermath) -> None:
    """One usage error, a line for each that names test, marker and keyword, and one next step; nothing ran."""
    pytester.makepyfile(FAULTS)
    assert_clear(
        simulated(),
        pytest.ExitCode.USAGE_ERROR,
        "*no server was started*",
        "*::test_range: marker efficiency: min_pct is 120*(0, 100]*",
        "*::test_keyword: marker contention has no keyword 'rate'*max_rate*",
        "*::test_type: marker throughput: min_tok_s*",
        "*::test_count: marker scaling takes keywords only*",
        "*::test_runtime: marker runtime('fibres'): wanted one of *",
        "*next: correct these markers, e.g. *",
    )
    aftermath.assert_nothing_left()


def test_the_next_step_of_a_marker_names_its_test_and_is_last() -> None:
    """Steps of single markers are not in the middle of the list."""
    faults = ["t.py::test_a: marker profile: no profile 'x'\n  next: write one", "t.py::test_b: marker efficiency: 120"]
    assert steps_last(faults) == [
        "t.py::test_a: marker profile: no profile 'x'",
        "t.py::test_b: marker efficiency: 120",
        _STEP,
        "next: t.py::test_a: write one",
    ]
    assert steps_last([]) == []


def test_in_xdist_workers_the_faults_fail_the_tests(simulated, pytester: pytest.Pytester, monkeypatch) -> None:
    """Workers cannot end the run: tests with the plugin's markers error, the list is printed once, other tests run."""
    monkeypatch.delenv("CI", raising=False)  # there, pytest's own summary repeats every text
    pytester.makepyfile(FAULTS + "\n    def test_other(): pass\n")
    result = simulated("-n", "2", own_process=True)
    result.assert_outcomes(errors=5, passed=1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*= llmperf =*", "pytest-llmperf: usage errors, no server was started:"])
    count = sum("::test_keyword: marker contention has no keyword" in line for line in result.stdout.lines)
    assert count == 2  # its own failure, the list


def test_a_gate_that_stands_twice_is_a_fault(simulated, pytester: pytest.Pytester) -> None:
    """If a test had two markers of one name, one would be ignored; the farther ones are validated, too."""
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.scaling(min_pct=400)

        @pytest.mark.scaling(min_pct=50)
        @pytest.mark.throughput(min_tok_s=1)
        @pytest.mark.throughput(min_tok_s=99, of="system")
        def test_twice(run_agents): pass
        """
    )
    result = simulated()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines_random(
        [
            "*::test_twice: marker throughput is given twice at test_twice*",
            "*::test_twice: marker scaling: min_pct is 400*",
        ]
    )


def test_deselected_tests_are_not_judged(simulated, pytester: pytest.Pytester) -> None:
    """A wrong marker on a test that does not run stops nobody."""
    pytester.makepyfile(FAULTS + "\n    def test_other(): pass\n")
    assert simulated("-k", "test_other").ret == pytest.ExitCode.OK


def test_a_gate_without_a_run_fails_its_test(simulated, pytester: pytest.Pytester, aftermath: Aftermath) -> None:
    """A gate that judged nothing is an error that says what to do, with or without the fixture."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.efficiency(min_pct=90)
        def test_forgot(run_agents):
            pass

        @pytest.mark.contention(max_rate=0.01)
        def test_no_fixture():
            pass
        """
    )
    result = simulated()
    result.assert_outcomes(failed=2)
    assert_clear(
        result,
        pytest.ExitCode.TESTS_FAILED,
        "gate efficiency: the test recorded no run*",
        "*next: call run_agents*",
        "gate contention: the test recorded no run*",
        "*next: call run_agents*",
    )
    aftermath.assert_nothing_left()


def test_the_closest_marker_wins(simulated, pytester: pytest.Pytester) -> None:
    """A test's own limit replaces its module's."""
    pytester.makepyfile(
        """
        import pytest
        from pair import PAIR

        pytestmark = pytest.mark.efficiency(min_pct=100)

        @pytest.mark.efficiency(min_pct=50)
        def test_pair(dual_ollama, run_agents):
            record = run_agents(PAIR, on=dual_ollama)
            assert [verdict.gate.limit for verdict in record.verdicts] == [50]
        """
    )
    simulated().assert_outcomes(passed=1)


def test_a_missing_limit_names_marker_and_baseline(simulated, pytester: pytest.Pytester, aftermath: Aftermath) -> None:
    """A marker without a value, and a baseline without a limit for it."""
    pytester.makepyfile(
        """
        import pytest
        from pair import PAIR

        @pytest.mark.scaling
        def test_pair(dual_ollama, run_agents):
            run_agents(PAIR, on=dual_ollama)
        """
    )
    assert_clear(
        simulated(),
        pytest.ExitCode.TESTS_FAILED,
        "UsageError: marker scaling() on *::test_pair has no limit*decision_card*",
        "*next: write @pytest.mark.scaling(min_pct=...)*",
    )


def test_collect_only_starts_and_asks_nothing(pytester: pytest.Pytester) -> None:
    """Listing tests needs no server, not even a backend that can be had."""
    pytester.makepyfile("def test_it(run_agents): pass")
    result = pytester.runpytest("--collect-only", "-q", "--llmperf-backend=attach", "--llmperf-urls=http://127.0.0.1:9")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*::test_it"])


def test_a_new_gate_kind_works_by_its_row_alone(simulated, pytester: pytest.Pytester, monkeypatch) -> None:
    """Registered, validated, limited by option or marker, judged and reported."""
    waiting = GateKind("waiting", "a request waits longer than the limit, ms", (number("max_ms", metric="queue_ms"),))
    monkeypatch.setitem(GATE_KINDS, "waiting", waiting)
    pytester.makepyfile(
        """
        import pytest
        from pair import PAIR

        @pytest.mark.waiting
        def test_pair(single_ollama, run_agents):
            run_agents(PAIR, on=single_ollama)
        """
    )
    simulated("--llmperf-limit=waiting=60000").assert_outcomes(passed=1)
    failed = simulated("--llmperf-limit=waiting=0.001")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(
        ["gate waiting: * ms (95 % CI * is above the maximum * (--llmperf-limit waiting=0.001)"]
    )
    simulated("--llmperf-limit=waiting=0").stderr.fnmatch_lines(["*waiting: max_ms is 0*wanted a number above 0*"])
