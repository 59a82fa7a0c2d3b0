"""Errors of looks, the null distribution, and the sampling variance of centres."""

import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.regression.null_distribution import NullDistribution, skewed_tail
from pytest_llmperf.judge.regression.sampling_variance import MOST_RESIDUALS, median_weights, sampling_variance
from pytest_llmperf.judge.regression.stored_change import grouped
from pytest_llmperf.judge.stats.distributions import chi2_nodes, normal_tail, t_quantile
from pytest_llmperf.judge.stats.error_spending import ALPHA, error_of_look
from pytest_llmperf.judge.stats.summary import Aggregate


def null_of(weights: tuple[float, ...], variances: tuple[float, ...], *, third: float) -> NullDistribution:
    return NullDistribution(
        weights=np.array(weights),
        variances=np.array(variances),
        third=np.array(third),
        typical=np.array(variances[0]),
        rounding=np.array(0.0),
    )


@given(st.integers(2, 100), st.integers(1, 50))
def test_errors_of_looks(looks: int, gates: int) -> None:
    """Most of the error is spent at the last look; more gates get less; a family spends at most 1.7 times the total."""
    early, late = (error_of_look(looks, last=last, gates=gates) for last in (False, True))
    assert 0 < early < late < ALPHA / gates
    assert error_of_look(looks, last=True, gates=gates + 1) < late
    assert error_of_look(1, last=True, gates=gates) == ALPHA / gates
    assert (looks - 1) * early + late <= ALPHA / gates * (10.2 if gates == 1 else 1.7)


def test_no_look_and_no_gate_are_refused() -> None:
    """Both would be no error at all."""
    with pytest.raises(ValueError, match="looks is 0"):
        error_of_look(0, last=True)
    with pytest.raises(ValueError, match="gates is 0"):
        error_of_look(1, last=True, gates=0)


@pytest.mark.parametrize("df", [1, 2, 3, 7, 19, 99, 1000])
@pytest.mark.parametrize("p", [0.3, 0.05, 0.01, 1e-3, 1e-4])
def test_averaging_the_normal_over_chi_square_gives_student(df: int, p: float) -> None:
    """What the nodes are for, within two percent."""
    t = t_quantile(1 - p, df)
    x, w = chi2_nodes(df)
    assert w @ normal_tail(t * np.sqrt(x / df)) == pytest.approx(p, rel=0.02)


def test_nodes_need_freedom() -> None:
    """None without degrees of freedom."""
    with pytest.raises(ValueError, match="df is 0"):
        chi2_nodes(0)


def test_a_long_tail_is_charged_and_a_short_one_not_believed() -> None:
    """Compared with a gamma distribution of skewness 1; towards the other side with the normal tail."""
    distances = np.array([2.0, 3.0, 4.0])
    variances, thirds = np.array([[1.0], [1.0], [4.0]]), np.array([[1.0], [-1.0], [8.0]])
    long, short, wide = skewed_tail(distances, variances, thirds)
    assert long == pytest.approx([0.0424, 0.0103, 0.0023], rel=0.06)  # of (G - 4) / 2, G of shape 4
    assert short == pytest.approx(normal_tail(distances))
    assert wide == pytest.approx(skewed_tail(distances / 2, np.ones(3), np.ones(3)))
    assert skewed_tail(np.array([0.1, 0.0]), np.zeros(2), np.zeros(2)).tolist() == [0, 1]


@given(st.floats(0.01, 100), st.floats(-5, 5), st.floats(1e-5, 0.2))
def test_quantiles_of_the_null_distribution_invert_its_tails(variance: float, third: float, error: float) -> None:
    """On both sides, whatever the skew."""
    null = null_of((0.5, 0.5), (variance, 2 * variance), third=third)
    assert null.upper_tail(null.upper_quantile(error)) == pytest.approx(error, rel=1e-3)
    assert null.lower_tail(null.lower_quantile(error)) == pytest.approx(error, rel=1e-3)


@given(st.floats(0, 20), st.floats(0, 20), st.floats(-2, 2))
def test_tails_fall_with_the_distance(first: float, second: float, third: float) -> None:
    """A larger change is never more probable by chance."""
    null = null_of((1.0,), (1.0,), third=third)
    near, far = sorted((first, second))
    assert null.upper_tail(near) >= null.upper_tail(far)
    assert null.lower_tail(near) >= null.lower_tail(far)


def test_sampling_variance_of_a_mean() -> None:
    """Pooled over sessions by hand; without two rounds anywhere there is none."""
    pooled = sampling_variance(Aggregate.MEAN, grouped([(1.0, 3.0), (10.0, 10.0, 13.0), (7.0,)]))
    variance, third = (2 + 6) / 3, 3 / 2 * (-1 - 1 + 8)
    assert pooled.moments(1) == pytest.approx((variance, third))
    assert pooled.moments(4) == pytest.approx((variance / 4, third / 16))
    assert pooled.freedom == 3
    for aggregate in (Aggregate.MEAN, Aggregate.MEDIAN):
        assert sampling_variance(aggregate, grouped([(1.0,), (2.0,)])).freedom == 0
    assert sampling_variance(Aggregate.MEAN, grouped([(1.0, 2.0)])).moments(1) == (0.5, 0.0)


def test_sampling_variance_of_a_median() -> None:
    """As simulated: normal rounds, and rounds of which one in ten is late by a factor with Pareto's tail."""
    rng = random.Random(7)
    for draw in (lambda: rng.gauss(0, 1), lambda: rng.gauss(0, 0.1) + (rng.random() < 0.1) * rng.expovariate(1.4)):
        sessions = [[draw() for _ in range(9)] for _ in range(40)]
        medians = [statistics.median(draw() for _ in range(9)) for _ in range(20_000)]
        pooled = sampling_variance(Aggregate.MEDIAN, grouped(sessions))
        assert pooled.moments(9)[0] == pytest.approx(statistics.variance(medians), rel=0.4)
        assert pooled.moments(20)[0] < pooled.moments(9)[0] < pooled.moments(5)[0]
        assert pooled.residuals.size == 360 > MOST_RESIDUALS
    assert pooled.moments(5)[1] > 0  # late rounds make the median late


@given(st.integers(1, 60), st.integers(1, 40))
def test_weights_of_medians(count: int, n: int) -> None:
    """They are probabilities and the same from both ends."""
    weights = median_weights(count, n)
    assert weights.sum() == pytest.approx(1)
    assert weights == pytest.approx(weights[::-1], abs=1e-9)


def test_rounds_that_do_not_vary_at_all() -> None:
    """Certainty: every distance above none is beyond chance, and the search for it ends."""
    certain = null_of((1.0,), (0.0,), third=0.0)
    assert certain.upper_quantile(0.01) == pytest.approx(0.0, abs=1e-300)


@pytest.mark.parametrize("error", [0.02, 0.01, 1e-3, 1e-5])
def test_the_cheap_test_leaves_out_no_small_tail(error: float) -> None:
    """A distance that may not exceed an error has larger tails on both sides, whatever variances and skewness."""
    rng = np.random.default_rng(7)
    variances = np.sort(rng.lognormal(0, 2, (4000, 40)), axis=1)[:, ::-1]
    null = NullDistribution(
        weights=chi2_nodes(7)[1][:40] / chi2_nodes(7)[1][:40].sum(),
        variances=variances,
        third=rng.normal(0, 3, 4000) * variances[:, 20] ** 1.5,
        typical=variances[:, 20],
        rounding=np.zeros(4000),
    )
    distance = rng.normal(0, 4, 4000) * np.sqrt(variances[:, 20])
    smallest = np.minimum(null.upper_tail(distance), null.lower_tail(distance))
    excluded = ~null.may_exceed(distance, error)
    assert (smallest[excluded] > error).all()
    assert (smallest <= error).any()
    assert excluded.mean() > 0.4
