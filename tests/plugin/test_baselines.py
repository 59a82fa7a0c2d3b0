"""Stored baselines through the plugin: save, compare, other machines, refused saves."""

import tomllib

import pytest

from tests.plugin.conftest import GATED

PLAIN = """
    from pair import PAIR

    def test_pair(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)
"""


def test_save_then_compare(simulated, pytester: pytest.Pytester) -> None:
    """A saved session becomes the limit of the next run; a second save adds a session."""
    pytester.makepyfile(PLAIN)
    for sessions in (1, 2):
        result = simulated("--llmperf-save=mine")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["saved 1 measurements to *mine.toml*"])
        with (pytester.path / "baselines" / "mine.toml").open("rb") as file:
            (stored,) = tomllib.load(file)["stored"]
        assert len(stored["session"]) == sessions
        assert len(stored["session"][-1]["rounds"]["efficiency_pct"]) == 5
        assert stored["session"][-1]["manifest"]["backend"] == "simulated"
    compared = simulated("--llmperf-compare=mine", "--llmperf-on-inconclusive=warn", "-W", "default")
    assert compared.ret == pytest.ExitCode.OK
    compared.stdout.fnmatch_lines(["pair *dual *"])


def test_a_regression_fails(simulated, pytester: pytest.Pytester) -> None:
    """The same test on one instance for both agents is worse than its baseline, and says by how much."""
    pytester.makepyfile(PLAIN)
    simulated("--llmperf-save=mine").assert_outcomes(passed=1)
    # What a broken deployment does: the fixture still says dual, both agents reach slow servers.
    result = simulated(
        "--llmperf-compare=mine",
        "--llmperf-max-rounds=6",
        "--llmperf-script=decode_tok_s=200,ttft_ms=30,load_ms=1,jitter_pct=0.2",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["gate compare: *tok/s* is worse than the stored *"])


def test_compare_without_an_entry_is_an_error(simulated, pytester: pytest.Pytester) -> None:
    """A test that the baseline does not know fails with the command that saves it."""
    pytester.makepyfile(PLAIN)
    simulated("--llmperf-save=mine").assert_outcomes(passed=1)
    pytester.makepyfile(test_other=PLAIN)
    result = simulated("--llmperf-compare=mine", "test_other.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["BaselineError: *test_other.py::test_pair*", "*--llmperf-save*"])


def test_a_failed_test_is_not_saved(simulated, pytester: pytest.Pytester) -> None:
    """A baseline is an accepted measurement; what was refused is named."""
    pytester.makepyfile(GATED.format(fixture="single_ollama"))
    result = simulated("--llmperf-save=mine")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["saved nothing to baseline mine*not saved*::test_pair*"])
    assert not (pytester.path / "baselines" / "mine.toml").exists()


def test_ratio_metrics_gate_across_machines(simulated, pytester: pytest.Pytester) -> None:
    """A baseline of another machine: efficiency is judged, tok/s and ms are shown as not comparable.

    One stored session says little, so a change has to be large to matter.
    """
    pytester.makepyfile(PLAIN)
    simulated("--llmperf-save=mine").assert_outcomes(passed=1)
    file = pytester.path / "baselines" / "mine.toml"
    text = file.read_text()
    assert "\ncpu = " in text
    file.write_text("\n".join('cpu = "another"' if line.startswith("cpu = ") else line for line in text.splitlines()))
    result = simulated("--llmperf-compare=mine", "--llmperf-limit=regression=12", "-W", "default")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*not comparable*cpu*"])
    assert not any("efficiency_pct" in line and "not comparable" in line for line in result.stdout.lines)
