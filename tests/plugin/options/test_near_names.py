"""A mistyped marker gates nothing: an error on tests that use us; and `--llmperf-require-gates`."""

import pytest

from pytest_llmperf.judge.gate_kinds import GATE_KINDS
from pytest_llmperf.plugin.options.near_names import edits, near_ours

MISTYPED = {
    "efficency": "efficiency",
    "Efficiency": "efficiency",
    "speed_up": "speedup",
    "contenton": "contention",
    "thruoghput": "throughput",
    "tftt": "ttft",
    "regresion": "regression",
    "consitancy": "consistency",
    "soaks": "soak",
    "run_time": "runtime",
    "profil": "profile",
    "multi_agent": "multiagent",
}
USES = """
    import pytest

    @pytest.mark.{marker}
    def test_it({fixture}):
        pass
"""


@pytest.mark.parametrize(("word", "meant"), MISTYPED.items())
def test_a_slip_of_the_keyboard_is_near(word: str, meant: str) -> None:
    """A letter more, less or other, two exchanged, case, an underscore."""
    from pytest_llmperf.plugin.marker_table import marker_lines

    names = [line.partition("(")[0].partition(":")[0] for line in marker_lines()]
    assert near_ours(word, names) == meant
    assert not near_ours(meant, names)


@pytest.mark.parametrize("word", ["slow", "smoke", "gpu", "live", "integration", "latency", "benchmark", "x", ""])
def test_another_word_is_not(word: str) -> None:
    """The usual markers of others."""
    assert not near_ours(word, GATE_KINDS)


def test_every_single_slip_in_every_gate_is_near() -> None:
    """One letter left out, doubled or replaced, neighbours exchanged: the gate is found, or another that is as near."""
    for gate in GATE_KINDS:
        for place in range(len(gate)):
            head, letter, tail = gate[:place], gate[place], gate[place + 1 :]
            for word in (head + tail, head + letter * 2 + tail, head + "z" + tail, head + tail[:1] + letter + tail[1:]):
                near = near_ours(word, GATE_KINDS)
                assert word in GATE_KINDS or edits(word, near) == 1, word


@pytest.mark.parametrize("where", ["", "pytestmark = pytest.mark.efficency\n"])
def test_on_a_test_that_uses_us_it_is_an_error(pytester: pytest.Pytester, where: str) -> None:
    """On the test or its module; nothing is started."""
    above = "" if where else "@pytest.mark.efficency(min_pct=80)"
    pytester.makepyfile(f"import pytest\n{where}\n{above}\ndef test_it(run_agents): pass")
    result = pytester.runpytest("-W", "ignore")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "::test_it: unknown marker 'efficency'; did you mean 'efficiency'?" in result.stderr.str()


def test_on_another_test_it_is_none_of_our_business(pytester: pytest.Pytester) -> None:
    """The warning is pytest's own."""
    pytester.makepyfile(USES.format(marker="efficency", fixture="tmp_path"))
    pytester.runpytest("-W", "ignore").assert_outcomes(passed=1)


@pytest.mark.parametrize("how", ["ini", "plugin", "name with arguments"])
def test_a_registered_marker_is_not_accused(pytester: pytest.Pytester, how: str) -> None:
    """Whoever registers `costs`, or a plugin of theirs, means it."""
    line = "costs(n): ours" if how == "name with arguments" else "costs: ours"
    if how == "plugin":
        pytester.makeconftest(f"def pytest_configure(config): config.addinivalue_line('markers', {line!r})")
    else:
        pytester.makeini(f"[pytest]\nmarkers = {line}\n")
    pytester.makepyfile(USES.format(marker="costs", fixture="llmperf"))
    pytester.runpytest().assert_outcomes(passed=1)


PLAIN = """
    import pytest
    from pair import PAIR

    @pytest.mark.multiagent
    def test_free(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)

    @pytest.mark.efficiency(min_pct=1)
    def test_gated(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)

    def test_idle(dual_ollama):
        pass
"""
FIVE = ("--llmperf-rounds=5", "--llmperf-max-rounds=5")


@pytest.mark.parametrize("ini", [False, True])
def test_a_test_that_measures_without_a_gate_fails_if_asked(simulated, pytester: pytest.Pytester, ini: bool) -> None:
    """Neither one that has a gate, nor one that measures nothing."""
    pytester.makepyfile(PLAIN)
    option = ("-o", "llmperf_require_gates=true") if ini else ("--llmperf-require-gates",)
    result = simulated(*option, *FIVE)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["*llmperf_require_gates: the test measured, and no gate judged*", "*next: add a marker*"]
    )
    result.stdout.fnmatch_lines(["FAILED *::test_free*"])


def test_without_the_option_it_passes(simulated, pytester: pytest.Pytester) -> None:
    """A test may measure only."""
    pytester.makepyfile(PLAIN)
    simulated(*FIVE).assert_outcomes(passed=3)
