"""A test marked soak, from outside."""

import json

import pytest

SOAK = """
    import pytest
    from pair import PAIR

    @pytest.mark.soak
    def test_long({fixture}, run_agents):
        run_agents(PAIR, on={fixture})
"""
LEVELS = """
schema = 1
description = "levels for a short run"

[[threshold]]
metric = "efficiency_pct"
level = "{level}"
bound = "min"
value = 90.0
unit = "%"
source = "here"

[[threshold]]
metric = "contention_rate"
level = "warning"
bound = "max"
value = 1.0
unit = "ratio"
source = "here"
"""


def test_without_a_duration_it_is_skipped(simulated, pytester: pytest.Pytester) -> None:
    """And says what to type; no server starts."""
    pytester.makepyfile(SOAK.format(fixture="dual_ollama"))
    result = simulated("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*--llmperf-duration=30m*"])


def test_a_healthy_run(simulated, pytester: pytest.Pytester) -> None:
    """As long as asked, more rounds than a measurement has, and a line in the summary."""
    (pytester.path / "baselines").mkdir()
    (pytester.path / "baselines" / "own.toml").write_text(LEVELS.format(level="critical"))
    pytester.makepyfile(SOAK.format(fixture="dual_ollama"))
    result = simulated(
        "--llmperf-baseline=own",
        "--llmperf-duration=4s",
        "--llmperf-max-rounds=5",
        "--llmperf-json=run.json",
        "-W",
        "default",
    )
    result.assert_outcomes(passed=1)
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    lasted_s, rounds = record["soak"]["lasted_s"], record["figures"]["rounds"]
    assert lasted_s >= 4
    assert record["soak"]["alarms"] == []
    assert rounds > 5
    lasted = f"{lasted_s:.0f} s" if lasted_s < 120 else f"{lasted_s / 60:.0f} min"
    line = f"soak: pair on dual (SIMULATED): {lasted}, {rounds} rounds: no alarm, no drift, no leak"
    assert line in result.stdout.lines


@pytest.mark.parametrize(("level", "outcome"), [("critical", "failed"), ("warning", "passed")])
def test_a_level_that_is_broken(simulated, pytester: pytest.Pytester, level: str, outcome: str) -> None:
    """A critical one ends the run and fails the test, in words with a next step; a warning warns."""
    (pytester.path / "baselines").mkdir()
    (pytester.path / "baselines" / "own.toml").write_text(LEVELS.format(level=level))
    pytester.makepyfile(SOAK.format(fixture="single_ollama"))
    asked = "4s" if level == "warning" else "3s"
    result = simulated(
        "--llmperf-baseline=own", f"--llmperf-duration={asked}", "--llmperf-json=run.json", "-W", "default"
    )
    result.assert_outcomes(**{outcome: 1}, warnings=level == "warning")
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    (alarm,) = record["soak"]["alarms"]
    assert alarm["level"]["level"] == level
    if level == "critical":
        assert alarm["at_s"] == record["soak"]["lasted_s"]
        result.stdout.fnmatch_lines(
            ["soak: efficiency_pct critical: 7?.? % over 3 s * below 90.0 % (baseline own, here)*", "*next: inspect**"]
        )
    else:
        assert record["soak"]["lasted_s"] >= 4
        result.stdout.fnmatch_lines(
            ["*GateWarning: soak: efficiency_pct warning: 7?.? % *, pair on single (SIMULATED)*"]
        )


@pytest.mark.parametrize("given", ["soon", "-3m", "0", "1d"])
def test_what_is_no_duration(simulated, pytester: pytest.Pytester, given: str) -> None:
    """A usage error that says what is one."""
    pytester.makepyfile(SOAK.format(fixture="dual_ollama"))
    result = simulated(f"--llmperf-duration={given}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--llmperf-duration: '{given}': wanted *"])
