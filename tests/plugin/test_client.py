"""What the client itself does to a measurement: its runtime, its calibration, and a client that cannot keep up."""

import json
import os
import sys
import textwrap

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.diagnosis import client_saturation
from pytest_llmperf.measure import client_pool
from pytest_llmperf.report.terminal.progress_line import ProgressLine
from pytest_llmperf.session.measurement import round_loop, soak_loop
from tests.plugin.conftest import FAST, GATED, PAIR
from tests.started import simulated_servers

TWO = ("--llmperf-rounds=2", "--llmperf-max-rounds=2")


def test_the_summary_says_what_the_client_cost(pytester, simulated) -> None:
    """Runtime, source of arrival times, cost and calibration are below the table, in JUnit and in the JSON."""
    pytester.makepyfile(test_it=GATED.format(fixture="dual_ollama"))
    result = simulated("-v", "--llmperf-calibrate=on", "--llmperf-json=run.json", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines(
        [
            r"client overhead: at most \d+\.\d\d pp of efficiency, \d\.\d{3} CPU cores "
            r"\(runtime threads, (kernel timestamps|read times).*\)",
            r"  calibrated at 2 x \d+ tok/s: \d+ us of CPU per token, arrivals \d+\.\d\d ms late \(p99\), "
            r"bias [+-]\d+\.\d\d pp",
        ]
    )
    record = json.loads((pytester.path / "run.json").read_text())["records"][0]
    assert record["measurement"]["calibration"]["agents"] == 2
    assert record["measurement"]["calibration"]["tok_s"] == pytest.approx(267, rel=0.2)
    assert record["figures"]["client_cost_pp"] >= 0
    assert record["measurement"]["manifest"]["facts"]["runtime"] == "threads"
    assert "client_cpu_cores" in (pytester.path / "junit.xml").read_text()


def test_the_calibration_can_be_left_out(pytester, simulated) -> None:
    """The rounds' own cost is shown all the same."""
    pytester.makepyfile(test_it=GATED.format(fixture="dual_ollama"))
    result = simulated("--llmperf-calibrate=off")
    result.stdout.fnmatch_lines(["client overhead: *(runtime threads, *"])
    result.stdout.no_fnmatch_line("*calibrated*")


def test_a_calibration_that_fails_costs_no_measurement(pytester, simulated, monkeypatch) -> None:
    """The plugin reports the failure and still measures the servers."""

    def calibrate(*_: object, **__: object) -> None:
        raise MeasurementError("the calibration server did not start")

    monkeypatch.setattr(client_pool, "calibrate", calibrate)
    pytester.makepyfile(test_it=GATED.format(fixture="dual_ollama"))
    result = simulated("--llmperf-calibrate=on")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["note: pair on dual: the harness could not be calibrated: the calibration server did not start"]
    )


@pytest.mark.parametrize("name", ["asyncio", "uvloop", "processes"])
@pytest.mark.slow
def test_the_runtime_is_chosen_by_option(pytester, simulated, aftermath, name) -> None:
    """And whatever it started is gone afterwards."""
    pytester.makepyfile(
        test_it="""
        from pair import PAIR

        def test_pair(dual_ollama, run_agents):
            run_agents(PAIR, on=dual_ollama)
        """
    )
    result = simulated(f"--llmperf-runtime={name}", *TWO, own_process=True)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"client overhead: *(runtime {name}, *"])
    aftermath.assert_nothing_left()


def test_the_runtime_is_chosen_by_marker(pytester, simulated) -> None:
    """The marker goes before the option, for its test only; `-m runtime` selects it; a bare one only selects."""
    pytester.makepyfile(
        test_it="""
        import pytest
        from pair import PAIR

        @pytest.mark.runtime("asyncio")
        def test_one(dual_ollama, run_agents):
            assert run_agents(PAIR, on=dual_ollama).measurement.manifest.facts["runtime"] == "asyncio"

        @pytest.mark.runtime(name="threads")
        def test_two(dual_ollama, run_agents):
            assert run_agents(PAIR, on=dual_ollama).measurement.manifest.facts["runtime"] == "threads"

        @pytest.mark.runtime
        def test_three(dual_ollama, run_agents):
            assert run_agents(PAIR, on=dual_ollama).measurement.manifest.facts["runtime"] == "uvloop"

        def test_four(dual_ollama, run_agents):
            assert False
        """
    )
    result = simulated("--llmperf-runtime=uvloop", "-m", "runtime", *TWO)
    result.assert_outcomes(passed=3, deselected=1)


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("runtime('rust')", "marker runtime('rust'): wanted one of threads, asyncio, uvloop, processes, ray"),
        ("runtime(kind='threads')", "marker runtime(kind='threads'): wanted one of *"),
        ("runtime('threads', 'asyncio')", "marker runtime('threads', 'asyncio'): wanted one of *"),
    ],
)
def test_a_wrong_runtime_is_found_at_collection(pytester, simulated, marker, words) -> None:
    """Before any server starts."""
    pytester.makepyfile(
        test_it=f"import pytest\n\n@pytest.mark.{marker}\ndef test_it(dual_ollama, run_agents):\n    pass\n"
    )
    result = simulated()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*test_it.py::test_it: {words.replace('[', '[[]')}"])


def test_a_missing_runtime_is_an_error(pytester, simulated, monkeypatch) -> None:
    """Before any server starts, with what to install."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    pytester.makepyfile(test_it=GATED.format(fixture="dual_ollama"))
    result = simulated("--llmperf-runtime=uvloop")
    result.assert_outcomes()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*the runtime uvloop needs uvloop*", "*next: pip install uvloop"])


def test_rounds_that_do_not_count_are_made_up_for(pytester, simulated, monkeypatch) -> None:
    """Others take their place and go on in the order of parts, so that it stays balanced over those that ran."""
    monkeypatch.setattr(round_loop, "saturated", lambda round_: "it was busy" if round_.index in (1, 3) else "")
    pytester.makepyfile(test_it=GATED.format(fixture="dual_ollama"))
    result = simulated("--llmperf-json=run.json", "--llmperf-max-rounds=5")
    measurement = json.loads((pytester.path / "run.json").read_text())["records"][0]["measurement"]
    assert [round_["index"] for round_ in measurement["discarded"]] == [1, 3]
    assert [round_["index"] for round_ in measurement["rounds"]] == [0, 2, 4, 5, 6]
    result.stdout.fnmatch_lines(["note: pair on dual: 2 of 7 rounds discarded because *"])


@pytest.mark.parametrize("how", [(), ("-q",), ("--llmperf-duration=1s",)], ids=["plain", "quiet", "soak"])
def test_a_measurement_of_which_nothing_is_left_does_not_pass(pytester, simulated, monkeypatch, how) -> None:
    """Even without a gate, and in a soak; the reason is printed even with `-q`."""
    monkeypatch.setattr(round_loop, "saturated", lambda _: "it was busy")
    monkeypatch.setattr(soak_loop, "saturated", lambda _: "it was busy")
    monkeypatch.setattr(client_saturation, "saturated", lambda _: "it was busy")
    soak = "@pytest.mark.soak" if "soak" in str(how) or "duration" in str(how) else ""
    gated = "\n".join(line for line in textwrap.dedent(GATED).splitlines() if not line.startswith("@pytest"))
    pytester.makepyfile(test_it=gated.format(fixture="dual_ollama").replace("def test_pair", f"{soak}\ndef test_pair"))
    result = simulated(*how)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "pair on dual: nothing is left of the measurement: the client was saturated in * of * rounds; in the last*",
            "  next: leave the client a core of its own*",
        ]
    )


@pytest.mark.usefixtures("judged_client")
def test_rounds_that_are_too_short_for_the_client_are_invalid(pytester, simulated, monkeypatch) -> None:
    """However little time the client takes: if it is too large a share of the round, no gate passes or fails."""
    monkeypatch.setattr(client_saturation, "MOST_COST_PP", 1e-6)
    announced = []
    monkeypatch.setattr(ProgressLine, "round_done", lambda _, __, verdicts, **___: announced.extend(verdicts))
    pytester.makepyfile(test_it=GATED.format(fixture="dual_ollama"))
    result = simulated()
    result.assert_outcomes(failed=1)
    assert {str(verdict.outcome) for verdict in announced} == {"invalid"}  # nothing that the end withdraws
    result.stdout.fnmatch_lines(
        [
            "gate efficiency could not be judged: no value against *client overhead was 0.* the rounds are too short",
            "  next: give the agents more work per round (num_predict), and *",
        ]
    )


STARVED = """
    import os, subprocess, sys, threading
    import pytest
    from pair import PAIR

    @pytest.mark.efficiency(min_pct=90)
    def test_pair(dual_ollama, run_agents):
        dual_ollama.open()
        {begin}
        try:
            run_agents(PAIR, on=dual_ollama)
        finally:
            {end}
"""


@pytest.fixture
def starved(pytester, aftermath):
    """`starved(begin, end)`: a gated test between these lines, against two servers that we did not start."""
    pytester.makepyfile(pair=PAIR.replace("num_predict=16", "num_predict=4"))

    def run(begin: str, end: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=STARVED.format(begin=begin, end=end))
        with simulated_servers(2, decode_tok_s=400, ttft_ms=30, load_ms=1) as urls:
            options = [option for option in FAST if not option.startswith("--llmperf")]
            options += [f"--llmperf-urls={','.join(urls)}", "--llmperf-calibrate=off", "--llmperf-rounds=2"]
            return pytester.runpytest_subprocess(*options)

    return run


def assert_invalid(result: pytest.RunResult) -> None:
    """The gate, which would pass, is `invalid`: it does not judge the servers."""
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "gate efficiency could not be judged: *the client was saturated in 2 of * rounds; in the last one *",
            "  next: leave the client a core of its own*",
            "*dual*invalid",
        ]
    )
    result.stdout.no_fnmatch_line("*is below the minimum*")


@pytest.mark.slow
def test_a_client_without_its_interpreter_is_invalid(starved) -> None:
    """A thread of the test's own that hogs the interpreter: the client reads late, and says so."""
    begin = "busy = [1]; sys.setswitchinterval(0.04); "
    begin += "threading.Thread(target=lambda: any(False for _ in iter(busy.copy, []))).start()"
    assert_invalid(starved(begin, "busy.clear()"))


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs to pin processes to a core: Linux")
def test_a_client_without_a_core_is_invalid(starved) -> None:
    """Busy processes of another priority, pinned to the client's core."""
    core = min(os.sched_getaffinity(0))
    loop = "any(False for _ in iter(int, 1))"
    hog = f"[sys.executable, '-S', '-c', 'import os; os.sched_setaffinity(0, {{{core}}}); {loop}']"
    begin = f"hogs = [subprocess.Popen({hog}) for _ in range(2)]; os.sched_setaffinity(0, {{{core}}}); "
    begin += "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))"  # a low priority alone is served too well
    assert_invalid(starved(begin, "[(hog.kill(), hog.wait()) for hog in hogs]"))
