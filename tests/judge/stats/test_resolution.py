"""Values that repeat: constant rounds, rounded figures, coarse clocks, and changes from 0, in every rule."""

import random

import pytest

from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.baselines.trend import loss, trends
from pytest_llmperf.judge.gates.baseline_comparison import compare_stored
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.judge.stats import resolution
from pytest_llmperf.judge.stats.autocorrelation import outliers
from pytest_llmperf.judge.stats.changepoints import breaks
from pytest_llmperf.model import Baseline, Bound, Outcome, Stored, StoredSession, Verdict
from tests.judge.build import gate, measurement_of, round_of

KEY = Key(test="t.py::test_pair", scenario="pair", topology="dual", workload="abc")

CONSTANT = [
    # gate, stored, new, outcome
    (("efficiency_pct", Bound.MIN, 2.0), 100.0, 99.999999, Outcome.PASS),
    (("efficiency_pct", Bound.MIN, 2.0), 100.0, 100.0, Outcome.PASS),
    (("efficiency_pct", Bound.MIN, 2.0), 98.7, 98.6, Outcome.PASS),
    (("efficiency_pct", Bound.MIN, 2.0), 98.7, 97.2, Outcome.PASS),
    (("efficiency_pct", Bound.MIN, 2.0), 98.7, 96.7, Outcome.FAIL),
    (("efficiency_pct", Bound.MIN, 2.0), 100.0, 90.0, Outcome.FAIL),
    (("ttft_ms", Bound.MAX, 20.0), 100.0, 101.0, Outcome.PASS),
    (("ttft_ms", Bound.MAX, 20.0), 100.0, 110.0, Outcome.PASS),
    (("ttft_ms", Bound.MAX, 20.0), 100.0, 130.0, Outcome.FAIL),
    (("ttft_ms", Bound.MAX, 20.0), 110.0, 100.0, Outcome.PASS),
    (("ttft_ratio", Bound.MAX, 20.0), 1.0, 1.0, Outcome.PASS),
    (("ttft_ratio", Bound.MAX, 20.0), 1.0, 1.1, Outcome.PASS),
    (("speedup", Bound.MIN, 20.0), 2.0, 1.9, Outcome.PASS),
    (("speedup", Bound.MIN, 20.0), 2.0, 1.0, Outcome.FAIL),
    (("system_tok_s", Bound.MIN, 20.0), 0.1 + 0.2, 0.3, Outcome.PASS),
]


def stored_verdict(metric: str, bound: Bound, old: tuple, new: tuple, delta: float, **looking) -> Verdict:
    asked = gate(metric, old[0][0], bound, delta=delta, reference=old)
    return judge_values(asked, new, **{"looks": 1, **looking})


@pytest.mark.parametrize(("asked", "old", "new", "outcome"), CONSTANT)
@pytest.mark.parametrize("looking", [{"looks": 1}, {"looks": 16, "last": False}, {"looks": 16, "gates": 20}], ids=str)
def test_rounds_that_never_change_are_compared_with_delta(
    asked: tuple, old: float, new: float, outcome: Outcome, looking: dict
) -> None:
    """No scatter at all is no proof of a loss: below delta it passes, from delta on it fails; stored and by pairs."""
    metric, bound, delta = asked
    for rounds in (3, 5):
        verdict = stored_verdict(metric, bound, ((old,) * rounds,) * 4, (new,) * rounds, delta, **looking)
        assert verdict.outcome is outcome, verdict.reason
        paired = gate(metric, 0.0, bound, delta=delta, incumbent="old")
        verdict = judge_values(paired, (new,) * rounds, incumbent=(old,) * rounds, **looking)
        assert verdict.outcome is outcome, verdict.reason


@pytest.mark.parametrize("new", [(98.7,) * 5, (98.6, 98.7, 98.7, 98.8, 98.7), (98.6,) * 5])
@pytest.mark.parametrize("old", [((98.7, 98.7, 98.7, 98.8, 98.7),) * 4, ((98.7,) * 5, (98.8,) * 5) * 3])
def test_a_step_of_the_last_decimal_is_no_loss(old: tuple, new: tuple) -> None:
    """Figures given to a tenth."""
    assert stored_verdict("efficiency_pct", Bound.MIN, old, new, 2.0).outcome is Outcome.PASS


@pytest.mark.parametrize(("sd", "step"), [(0.0, 0.1), (0.03, 0.1), (1.2, 0.1), (0.3, 1.0)])
def test_rounded_values_raise_no_false_alarm(sd: float, step: float) -> None:
    """None of 60 healthy runs fails, and none of 60 runs that lost 1.5 delta passes, whatever the rounding."""
    rng = random.Random(f"{sd} {step}")

    def rounds(level: float, count: int = 5) -> tuple[float, ...]:
        return tuple(round(round((level + rng.gauss(0, sd)) / step) * step, 6) for _ in range(count))

    for _ in range(60):
        level = 97 + rng.random()
        old = tuple(rounds(level) for _ in range(8))
        assert stored_verdict("efficiency_pct", Bound.MIN, old, rounds(level), 2.0).outcome is not Outcome.FAIL
        assert stored_verdict("efficiency_pct", Bound.MIN, old, rounds(level - 3), 2.0).outcome is not Outcome.PASS


@pytest.mark.parametrize(
    ("values", "limit", "bound", "outcome"),
    [
        ((95.0,) * 5, 95.0, Bound.MIN, Outcome.INCONCLUSIVE),
        ((0.1 + 0.2,) * 5, 0.3, Bound.MAX, Outcome.PASS),
        ((94.99999999999999,) * 5, 95.0, Bound.MIN, Outcome.PASS),
        ((94.8,) * 5, 95.0, Bound.MIN, Outcome.FAIL),
        ((95.2,) * 5, 95.0, Bound.MIN, Outcome.PASS),
        ((95.0,) * 5, 95.02, Bound.MIN, Outcome.INCONCLUSIVE),
        ((95.0,) * 5, 94.98, Bound.MIN, Outcome.INCONCLUSIVE),
        ((95.0,) * 5, 95.06, Bound.MIN, Outcome.FAIL),
        ((95.0,) * 5, 94.94, Bound.MIN, Outcome.PASS),
        ((95.0,) * 19 + (95.1,), 94.98, Bound.MIN, Outcome.INCONCLUSIVE),
        ((500.0,) * 12, 500.0, Bound.MAX, Outcome.INCONCLUSIVE),
        ((500.0,) * 12, 500.06, Bound.MAX, Outcome.PASS),
        ((500.0,) * 12, 490.0, Bound.MAX, Outcome.FAIL),
    ],
)
def test_limits_and_values_that_repeat(values: tuple[float, ...], limit: float, bound: Bound, outcome: Outcome) -> None:
    """Known to a tenth, all equal ones too; those given to all digits keep a limit that they are on, floats aside."""
    for metric in ("scaling_efficiency_pct", "ttft_ms"):
        verdict = judge_values(gate(metric, limit, bound), values, looks=16)
        assert verdict.outcome is outcome
        if len(set(values)) == 1 and outcome is Outcome.INCONCLUSIVE:
            assert "values that repeat are known to 0.1 only" in verdict.reason
            assert verdict.rounds_needed is None


@pytest.mark.parametrize(
    ("metric", "bound", "value"), [("efficiency_pct", Bound.MIN, 100.0), ("queue_ms", Bound.MAX, 0.0)]
)
def test_nothing_is_beyond_what_a_metric_can_be(metric: str, bound: Bound, value: float) -> None:
    """Rounds that all reach 100 %, or take no time at all, meet the limit there."""
    assert judge_values(gate(metric, value, bound), (value,) * 5, looks=16).outcome is Outcome.PASS


def test_a_cv_of_rounded_values_is_not_known_to_be_none() -> None:
    """Half a step of 95.0 is 0.05 %."""
    outcomes = [
        judge_values(gate("decode_tok_s_cv_pct", limit_pct, Bound.MAX), (95.0,) * 5, looks=16).outcome
        for limit_pct in (0.04, 0.06)
    ]
    assert outcomes == [Outcome.INCONCLUSIVE, Outcome.PASS]


def test_a_peak_on_its_limit_keeps_it() -> None:
    """Floats aside."""
    assert judge_values(gate("vram_gib", 0.3, Bound.MAX), (0.1 + 0.2,) * 3, looks=1).outcome is Outcome.PASS


def test_three_times_the_solo_ttft_is_not_above_three_times() -> None:
    """A ratio of exactly 3 is not contended, whatever floats say of it; nor is a rate that fell by exactly 5 %."""
    for alone in (0.1, 0.7, 1.1, 23.3):
        measured = measurement_of(
            *(round_of((100, 100), (100, 100), index=i, solo={"ttft_ms": alone}, ttft_ms=3 * alone) for i in range(3))
        )
        assert series(measured, "contended_ttft") == (0.0,) * 3
    slower = {"tokens": 100, "decode_ms": 100 / 0.95}
    measured = measurement_of(
        *(round_of((100, 100), (100, 100), index=i, solo={"tokens": 100, "decode_ms": 100}, **slower) for i in range(3))
    )
    assert set(series(measured, "contended_throughput")) == {0.0}


def baseline_of(*levels: tuple[float, ...], metric: str = "efficiency_pct") -> Baseline:
    """A session of these rounds each."""
    sessions = tuple(
        StoredSession(
            saved_at=f"2026-01-{number + 1:02}T00:00:00+00:00", manifest={"cpu": "i9"}, rounds={metric: rounds}
        )
        for number, rounds in enumerate(levels)
    )
    entry = Stored(test=KEY.test, scenario=KEY.scenario, topology=KEY.topology, workload=KEY.workload, session=sessions)
    return Baseline(schema=2, name="main", stored=(entry,))


def test_two_baselines_of_constant_rounds_are_compared_with_delta() -> None:
    """The command-line comparison: a millionth is nothing, three points are a loss."""
    old = baseline_of(*[(100.0,) * 3] * 4)
    for new, outcome in ((99.999999, Outcome.PASS), (97.0, Outcome.FAIL)):
        (compared,) = compare_stored(old, baseline_of((new,) * 3))
        assert [verdict.outcome for verdict in compared.verdicts] == [outcome]


def test_a_step_of_the_last_decimal_is_no_change_of_level() -> None:
    """Rounds given to a tenth whose level moves by one tenth, or by a third of it; a step of two points is found."""
    high, low = (98.7, 98.7, 98.7), (98.6, 98.6, 98.6)
    assert [history.breaks for history in trends(baseline_of(*[high] * 3, *[low] * 3))] == [()]
    assert [history.breaks for history in trends(baseline_of(*[high] * 4, *[(98.7, 98.6, 98.7)] * 4))] == [()]
    (trend,) = trends(baseline_of(*[high] * 4, *[(96.7, 96.7, 96.7)] * 4))
    assert [(history.start, history.end) for history in trend.breaks] == [(3, 4)]
    assert breaks([98.7] * 3 + [98.6] * 3, 0.01)  # what the rounding would hide if nobody said it


def test_noise_across_the_edge_of_a_step_is_no_change_of_level() -> None:
    """Hardly any of 300 series that randomly read one of two neighbouring tenths has a change of level."""
    rng = random.Random(4)
    count = sum(bool(breaks([rng.choice((98.6, 98.7)) for _ in range(6)], 0.01, step=0.1)) for _ in range(300))
    assert count <= 6


@pytest.mark.parametrize(("new", "outcome"), [(0.0, Outcome.PASS), (0.05, Outcome.PASS), (50.0, Outcome.FAIL)])
def test_a_stored_centre_of_zero_is_compared(new: float, outcome: Outcome) -> None:
    """A queue time of 0 has no percentage of its own; changes are percent of 1 ms, and the reason says so."""
    stored = stored_verdict("queue_ms", Bound.MAX, ((0.0,) * 5,) * 4, (new,) * 5, 20.0)
    paired = judge_values(gate("queue_ms", 0.0, Bound.MAX, delta=20.0), (new,) * 5, looks=1, incumbent=(0.0,) * 5)
    for verdict in (stored, paired):
        assert verdict.outcome is outcome, verdict.reason
        assert "percent of 1 ms" in verdict.reason


def test_what_was_zero_can_be_lost() -> None:
    """A trend from 0 to 5 ms is a loss."""
    assert loss(metric_of("queue_ms"), 0.0, 5.0) == 500.0
    (trend,) = trends(baseline_of(*[(0.0,) * 3] * 4, *[(5.0,) * 3] * 4, metric="queue_ms"), metrics=("queue_ms",))
    assert trend.worse


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ((98.71, 98.72, 98.73), 0.0),
        ((98.7, 98.7, 98.5), 0.1),
        ((100.0, 100.0), 0.1),
        ((2.0, 2.0), 0.01),
        ((0.0, 0.0), 0.0),
        ((0.0, 0.0, 5.0, 5.0), 0.01),
        ((0.30000000000000004,) * 2, 0.0),
        ((-98.7, -98.7), 0.1),
        ((1e-300, 1e-300), 0.0),
        ((1e300, 1e300), 0.1),
    ],
)
def test_how_finely_values_are_known(values: tuple[float, ...], step: float) -> None:
    """To the last decimal of those that repeat, three digits at least; to all of it, if none repeats."""
    assert resolution.step_of(values) == pytest.approx(step, abs=1e-12)


def test_the_rounding_of_floats_makes_no_outlier() -> None:
    """Four rounds that are equal but for the last bit, and one that differs in the twelfth digit."""
    equal = (98.7, 98.7, 98.70000000000002, 98.69999999999999, 98.7000000001)
    assert outliers(equal) == ()
    assert judge_values(gate(limit=95.0), equal, looks=1).effect_size is None
