"""Means of skewed rounds."""

import math
import random

import numpy as np
import pytest

from benchmarks import verdicts, whole_runs
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.stats.confidence_intervals import interval, mean_ends, student_ends
from pytest_llmperf.judge.stats.skewed_mean import (
    SHOWN,
    TAIL,
    TAILS,
    end_by_logarithms,
    end_with_tail_below,
    row_skewness,
    sd_freedom,
)
from pytest_llmperf.judge.stats.summary import UNKNOWN_SHAPE, Aggregate, Shape
from pytest_llmperf.model import Bound, Outcome
from tests.judge.build import gate

EFFICIENCY = Shape(ceiling=100.0, tail_below=True)
BODY = (90.9, 91.0, 91.2, 90.8, 91.1)
TAILED = (91.3, 91.2, 91.4, 91.1, 89.0)


def test_skewness_by_hand() -> None:
    """Four equal values and one far below: -1.5, the most of five; symmetric and equal ones have none."""
    rows = np.array([(1.0, 1.0, 1.0, 1.0, -4.0), (1.0, 2.0, 3.0, 4.0, 5.0), (7.0,) * 5])
    assert row_skewness(rows) == pytest.approx([-1.5, 0.0, 0.0])


def test_the_lower_end_by_hand() -> None:
    """Hall's cubic, solved for Student's t: symmetric rounds are taken to have the skewness that they may hide."""
    values, t = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 2.776445
    k = -TAIL / math.sqrt(5)
    root = 1 + k * (t - k / 6)
    quantile = 3 / k * (math.copysign(abs(root) ** (1 / 3), root) - 1)
    assert quantile > t
    assert float(end_with_tail_below(values, 0.05)) == pytest.approx(3 - quantile * math.sqrt(2.5 / 5))
    assert 0 < SHOWN < 1


def test_an_end_only_moves_outwards() -> None:
    """Where a ceiling explains all skewness it is Student's; rounds that are all equal have no tail."""
    for values in (BODY, TAILED):
        row = np.array(values)
        assert end_with_tail_below(row, 0.01, explained=9.0) == pytest.approx(student_ends(row, 0.01)[0])
        assert end_with_tail_below(row, 0.01) < student_ends(row, 0.01)[0]
    equal = np.full(5, 95.0)
    assert mean_ends(equal, 0.01, EFFICIENCY) == (pytest.approx(95.0), pytest.approx(95.0))


def test_logarithms_hardly_matter_for_calm_rates_and_do_for_wild_ones() -> None:
    """The upper end of rates that scatter by 1 % is Student's within a tenth of its width; of wild ones far above."""
    rng = random.Random(16)
    calm, wild = (np.array([100 * math.exp(sd * rng.gauss(0, 1)) for _ in range(12)]) for sd in (0.01, 0.6))
    for values, least, most in ((calm, 1.0, 1.1), (wild, 1.3, 5.0)):
        _, high = student_ends(values, 0.01)
        assert least - 0.05 < float((end_by_logarithms(values, 0.01) - values.mean()) / (high - values.mean())) < most
    assert math.isinf(end_by_logarithms(np.array([1e-300, 1e300]), 0.01))
    low, high = mean_ends(np.array([0.0, 5.0, 10.0]), 0.05, UNKNOWN_SHAPE)
    assert low + high == pytest.approx(10.0)  # 0 has no logarithm


def test_a_share_near_0_is_judged_like_a_balance_near_its_ceiling() -> None:
    """Student's t would pass a share whose few high rounds are not all shown; 0 is as much a wall as 100 % is."""
    shares = np.array([0.01, 0.02, 0.05, 0.09, 0.14])
    rest = mean_ends(1 - shares, 0.05, Shape(ceiling=1.0, tail_below=True))
    low, high = mean_ends(shares, 0.05, metric_of("critical_queue_share").shape)
    assert (low, high) == (pytest.approx(1 - rest[1]), pytest.approx(1 - rest[0]))
    student = student_ends(shares, 0.05)
    assert low <= student[0]
    assert high > 1.2 * student[1]
    verdict = judge_values(gate("critical_queue_share", float(student[1]) + 0.01, Bound.MAX), shares.tolist(), looks=1)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "Student t, fourth roots and a tail of high rounds that 5 may not show" in verdict.reason


def test_a_reason_says_what_made_the_interval_wider() -> None:
    """A tail of low rounds, logarithms, fourth roots; rates of a machine have no ceiling and no such tail."""
    few = interval(Aggregate.MEAN, BODY, looks=16, shape=EFFICIENCY)
    assert few.method == "Student t, fourth roots and a tail of low rounds that 5 may not show"
    assert interval(Aggregate.MEAN, BODY, looks=16).method == "Student t"
    wild = (20.0, 90.0, 60.0, 200.0, 45.0)
    assert interval(Aggregate.MEAN, wild, looks=16).method == "Student t and logarithms"
    verdict = judge_values(gate("efficiency_pct", 90.6, Bound.MIN), BODY, looks=16)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "a tail of low rounds that 5 may not show" in verdict.reason
    assert judge_values(gate("decode_tok_s", 90.6, Bound.MIN), BODY, looks=16).outcome is Outcome.PASS


def test_a_batch_is_judged_as_its_rows_are() -> None:
    """Rows with and without a value above the ceiling, or below 0, beside each other."""
    rows = np.array([BODY, TAILED, (101.0, 99.0, 98.0, 99.0, 97.0), (-1.0, 2.0, 3.0, 4.0, 5.0)])
    for shape in (Shape(tail_below=True), EFFICIENCY):
        low, high = mean_ends(rows, 0.01, shape)
        for row, *ends in zip(rows, low, high, strict=True):
            assert mean_ends(row, 0.01, shape) == pytest.approx(tuple(ends))


def test_a_spread_with_tails_has_fewer_degrees_of_freedom() -> None:
    """Never more than n - 1, nor fewer than 1; an outlier takes most of them, equal rounds show none."""
    rng = random.Random(16)
    normal = [rng.gauss(0, 1) for _ in range(20)]
    outlier = [*normal[:19], 12.0]
    assert 1 <= sd_freedom(outlier, 20) < sd_freedom(normal, 20) < 19
    assert sd_freedom((7.0,) * 5, 5) == pytest.approx(2 * 5 / (TAILS + 2.5), abs=0.1)
    assert sd_freedom(normal, 40) > sd_freedom(normal, 20)
    assert sd_freedom((1.0, 2.0), 2) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "most"),
    [
        (lambda rng, shape: rng.standard_normal(shape), 2.5),
        (lambda rng, shape: rng.standard_t(5, shape) / math.sqrt(5 / 3), 2.5),
        (lambda rng, shape: (rng.gamma(2.0, 1.0, shape) - 2) / math.sqrt(2), 3.5),
    ],
    ids=["normal", "Student 5", "gamma 2"],
)
def test_a_cv_on_its_limit_seldom_passes(draw, most: float) -> None:
    """600 runs of 5 to 20 rounds, fixed seed; with n - 1 degrees of freedom a gamma passes in 4 % and more."""
    values = 100 + 5 * draw(np.random.default_rng(16), (600, 20))
    outcomes, _ = whole_runs.judge_gate("decode_tok_s_cv_pct", values, 5.0, Bound.MAX)
    assert 100 * (outcomes == whole_runs.PASS).mean() <= most


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["skewed at 90", "lognormal .5", "three in ten 4 low", "gamma of shape .5"])
def test_a_tail_below_the_limit_seldom_passes(noise: str) -> None:
    """2,000 runs with the true mean on the limit, fixed seed; by Student's t 4 to 11 % pass."""
    _, result = verdicts.simulate((verdicts.Cell("limit", noise, 1, 0.0, 0.0), 2000))
    assert result.passed <= 2.5 + 3 * math.sqrt(2.5 * 97.5 / 2000)
    assert result.failed <= 2.5
