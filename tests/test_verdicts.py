"""The simulation behind `make verdicts`: it judges as gates do, and names each figure that falls short."""

import numpy as np
import pytest

from benchmarks import verdicts, whole_runs
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.regression.effect_scale import Scale
from pytest_llmperf.model import Bound, Outcome
from tests.judge.build import gate

pytestmark = pytest.mark.slow

CODES = {Outcome.PASS: whole_runs.PASS, Outcome.FAIL: whole_runs.FAIL, Outcome.INCONCLUSIVE: whole_runs.OPEN}
POINTS = Scale(bound=Bound.MIN, unit="pp")
PERCENT = Scale(bound=Bound.MAX, unit="%", logs=True)


def alone(gate_, values, **of_gate) -> tuple[int, int]:
    """Outcome and rounds of one run, by its gate, look by look."""
    for n in range(whole_runs.FIRST, len(values) + 1):
        sides = {name: side[:n].tolist() for name, side in of_gate.items()}
        verdict = judge_values(gate_, values[:n].tolist(), looks=16, last=n == len(values), **sides)
        if verdict.outcome is not Outcome.INCONCLUSIVE:
            break
    return CODES[verdict.outcome], n


def as_tuples(sessions) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, sessions.tolist()))


def test_a_batch_is_judged_as_each_run_alone() -> None:
    """Means and medians of stored sessions, pairs, limits; skewed, rounded and equal rounds: same verdicts."""
    rng = np.random.default_rng(4)
    stored = 98.7 - rng.gamma(1.15, 1.1, (12, 8, 5))
    values = 98.7 - rng.gamma(1.15, 1.1, (12, 20)) - rng.choice([0, 2, 4], (12, 1))
    values[8:] = np.round(96.5 + rng.choice([-0.1, 0, 0.1], (4, 1)) + 0.04 * rng.standard_normal((4, 20)), 1)
    values[11] = stored[11] = 96.5
    ttft, incumbent = (np.exp(4 + 0.1 * rng.standard_normal(shape)) for shape in ((12, 8, 5), (12, 20)))
    slower = incumbent * np.exp(0.03 * rng.standard_normal((12, 20)) + rng.choice([0, 0.1, 0.3], (12, 1)))
    batches = {
        "means": whole_runs.judge_sessions(POINTS, stored, values, median=False, delta=2.0),
        "medians": whole_runs.judge_sessions(PERCENT, ttft, slower, median=True, delta=20.0),
        "pairs": whole_runs.judge_pairs(PERCENT, incumbent, slower, delta=20.0),
        "limit": whole_runs.judge_limit(values[:8], 96.5, metric_of("efficiency_pct").shape),
        "deployment": whole_runs.judge_limit(values[:8], 96.5, metric_of("efficiency_pct").shape, stored[:8]),
    }
    seen = set()
    for index in range(12):
        medians = gate("ttft_ms", bound=Bound.MAX, limit=50.0, delta=20.0, reference=as_tuples(ttft[index]))
        runs = {
            "means": alone(gate(limit=98.0, delta=2.0, reference=as_tuples(stored[index])), values[index]),
            "medians": alone(medians, slower[index]),
            "pairs": alone(
                gate("ttft_ms", bound=Bound.MAX, limit=50.0, delta=20.0), slower[index], incumbent=incumbent[index]
            ),
            "limit": alone(gate(limit=96.5), values[index]) if index < 8 else None,
            "deployment": (
                alone(gate(limit=96.5, reference=as_tuples(stored[index])), values[index]) if index < 8 else None
            ),
        }
        for name, run in runs.items():
            assert run is None or run == (batches[name][0][index], batches[name][1][index]), name
            seen.add(run and run[0])
    assert seen >= set(CODES.values())


def test_healthy_runs_seldom_fail_and_broken_ones_never_pass() -> None:
    """2,000 runs against eight sessions that differ by 0.6 points, fixed seed: what `make verdicts` shows at length."""
    cells = [verdicts.Cell("stored", "skewed", 8, 0.6, drop) for drop in (0.0, 3.0, 5.0)]
    healthy, beyond, broken = (verdicts.simulate((cell, 2000))[1] for cell in cells)
    assert healthy.failed <= 1
    assert beyond.passed <= 1
    assert broken.failed >= 95


def test_a_quick_run_prints_the_table_and_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Every rule, every condition, every figure with its limit; few runs are forgiven what chance may do."""
    assert verdicts.main(["--quick", "--runs", "40", "--processes", "1"]) == 0
    printed = capsys.readouterr().out
    assert "Welch, one-sided .01" in printed
    assert printed.count(" holds") >= 80
    assert "skewed         20 sessions, tau 1.2" in printed
    assert "every figure holds" in printed


def test_a_figure_that_falls_short_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named if it is on the wrong side of its limit, and only then."""
    table = verdicts.Table(results={}, runs=20_000)
    table.figure("false alarms", 1.01, 1, most=True)
    table.figure("found", 94.9, 95, most=False)
    table.figure("kept", 1.0, 1, most=True)
    assert table.short == ["false alarms", "found"]
    assert capsys.readouterr().out.count("FALLS SHORT") == 2
