"""Means of values below a ceiling."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.stats.confidence_intervals import Interval, interval, mean_interval
from pytest_llmperf.judge.stats.skewed_mean import bounded_ends
from pytest_llmperf.judge.stats.summary import Aggregate, Shape


def ends_of(values: Sequence[float], alpha: float) -> Interval:
    low, high = bounded_ends(np.array(values), alpha, 100.0)
    return Interval(low=float(low), high=float(high), method="")


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_it_stays_below_the_ceiling_and_holds_the_mean(values: list[float]) -> None:
    """Whatever the values; the wider the more confidence."""
    usual, wider = (ends_of(values, alpha) for alpha in (0.05, 0.005))
    assert wider.low - 1e-4 <= usual.low <= usual.high <= wider.high + 1e-4 <= 100.001
    assert usual.low <= math.fsum(values) / len(values) + 1e-6


def test_far_from_the_ceiling_it_is_students() -> None:
    """Where the ceiling is a hundred standard deviations away it makes no difference."""
    values = (10.0, 10.6, 9.5, 10.2, 9.9)
    bounded, unbounded = ends_of(values, 0.05), mean_interval(values, 0.05)
    assert (bounded.low, bounded.high) == (
        pytest.approx(unbounded.low, rel=2e-3),
        pytest.approx(unbounded.high, rel=2e-3),
    )
    assert ends_of((98.0,) * 5, 0.05).low == 98
    assert math.isinf(ends_of((-1e8, 100.0), 0.05).low)


@pytest.mark.slow
def test_it_keeps_its_word_where_students_t_does_not() -> None:
    """100 minus a gamma near the exponential, 5 rounds, fixed seed: passes of a mean on the limit at 2.5 % a side."""
    rng = random.Random(110)
    runs, by_t, by_both = 1500, 0, 0
    for _ in range(runs):
        values = [100 - rng.gammavariate(1.15, 1.3 / 1.15) for _ in range(5)]
        by_t += mean_interval(values, 0.05).low > 98.7
        by_both += interval(Aggregate.MEAN, values, looks=1, shape=Shape(ceiling=100.0)).low > 98.7
    assert by_t / runs > 0.08
    assert by_both / runs < 0.025 + 3 * math.sqrt(0.025 / runs)


def test_a_value_above_the_ceiling_has_no_ceiling() -> None:
    """Then the metric is not what it says, and only Student's t is left."""
    values = (99.0, 101.0, 98.0, 99.5, 100.0)
    assert interval(Aggregate.MEAN, values, looks=1, shape=Shape(ceiling=100.0)).method == "Student t"
    below = (99.0, 97.0, 98.0, 96.5, 99.5)
    assert interval(Aggregate.MEAN, below, looks=1, shape=Shape(ceiling=100.0)).method == "Student t and fourth roots"
