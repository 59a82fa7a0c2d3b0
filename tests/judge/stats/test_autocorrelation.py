"""Rounds as a series: alike neighbours and rounds that stand out."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.stats import autocorrelation
from pytest_llmperf.judge.stats.confidence_intervals import interval
from pytest_llmperf.judge.stats.summary import Aggregate


def test_autocorrelation_by_hand() -> None:
    """Two high, two low: 1/4 by the plain formula, and what short series hide."""
    assert autocorrelation.autocorrelation((1.0, 1.0, -1.0, -1.0)) == pytest.approx(0.25 + (1 + 3 * 0.25) / 4)
    assert autocorrelation.autocorrelation((1.0, 2.0, 3.0)) is None
    assert autocorrelation.autocorrelation((1.0,) * 9) is None
    assert autocorrelation.autocorrelation((3.3,) * 12) is None  # whose sum over 12 is not exactly 3.3
    assert autocorrelation.autocorrelation((1.0, -1.0) * 5) == -1  # -0.9 - 0.17, were that possible


def test_a_drift_is_charged_and_alternation_is_not() -> None:
    """A slow rise widens the interval of the mean; a zigzag of the same values does not."""
    rise, zigzag = tuple(map(float, range(10))), (0.0, 9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0)
    assert autocorrelation.variance_inflation(rise) > 4
    assert autocorrelation.variance_inflation(zigzag) == 1
    assert autocorrelation.variance_inflation((1.0, 2.0)) == 1
    assert autocorrelation.variance_inflation((3.3,) * 12) == 1
    wide, plain = (interval(Aggregate.MEAN, values, looks=1) for values in (rise, zigzag))
    assert wide.high - wide.low == pytest.approx(
        autocorrelation.variance_inflation(rise) ** 0.5 * (plain.high - plain.low)
    )
    assert "neighbouring rounds are alike" in wide.method


def test_what_the_charge_is_true_to() -> None:
    """About (1 + .6) / (1 - .6) for a long autoregression of 0.6, seldom anything for independent rounds."""
    rng = random.Random(1)
    charged = 0
    for _ in range(200):
        charged += autocorrelation.variance_inflation([rng.gauss(0, 1) for _ in range(20)]) > 1
    assert charged < 50
    values = [0.0]
    for _ in range(3000):
        values.append(0.6 * values[-1] + rng.gauss(0, 0.8))
    assert autocorrelation.variance_inflation(values) == pytest.approx(4, rel=0.15)


@given(st.lists(st.floats(-1e6, 1e6), min_size=0, max_size=30))
def test_inflation_never_helps(values: list[float]) -> None:
    """At least 1, at most what the largest autocorrelation costs; outliers are round numbers."""
    assert 1 <= autocorrelation.variance_inflation(values) <= 9 + 1e-9
    assert set(autocorrelation.outliers(values)) <= set(range(1, len(values) + 1))


def test_outliers() -> None:
    """Those far from the median in units of the median distance; none among equals, none among three."""
    assert autocorrelation.outliers((10.0, 11.0, 9.0, 10.5, 30.0, 9.5)) == (5,)
    assert autocorrelation.outliers((10.0, 10.0, 10.0, 30.0)) == ()
    assert autocorrelation.outliers((10.0, 10.1, 30.0)) == ()
