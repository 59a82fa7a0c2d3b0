"""Errors of looks, chance as a mixture, and how centres scatter."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.regression.null_distribution import Doubt, skewed_tail
from pytest_llmperf.judge.regression.sampling_variance import (
    MOST_RESIDUALS,
    MeanScatter,
    mean_scatter,
    median_scatter,
    median_weights,
)
from pytest_llmperf.judge.stats.distributions import chi2_nodes, normal_tail, t_quantile
from pytest_llmperf.judge.stats.error_spending import ALPHA, error_of_look


@given(st.integers(2, 100), st.integers(1, 50))
def test_errors_of_looks(looks: int, gates: int) -> None:
    """Most waits for the last look; more gates leave less; a family shares out at most 1.7 times what there is."""
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
    assert math.fsum(w * normal_tail(t * math.sqrt(x / df)) for x, w in chi2_nodes(df)) == pytest.approx(p, rel=0.02)


def test_nodes_need_freedom() -> None:
    """None without degrees of freedom."""
    with pytest.raises(ValueError, match="df is 0"):
        chi2_nodes(0)


def test_a_long_tail_is_charged_and_a_short_one_not_believed() -> None:
    """Of a gamma with skewness 1, by its distribution; towards the other side the normal's tail."""
    for distance, exact in ((2.0, 0.0424), (3.0, 0.0103), (4.0, 0.0023)):  # of (G - 4) / 2, G of shape 4
        assert skewed_tail(distance, 1.0, 1.0) == pytest.approx(exact, rel=0.06)
        assert skewed_tail(distance, 1.0, -1.0) == normal_tail(distance)
        assert skewed_tail(distance, 4.0, 8.0) == pytest.approx(skewed_tail(distance / 2, 1.0, 1.0))
    assert skewed_tail(0.1, 0.0, 0.0) == 0
    assert skewed_tail(0.0, 0.0, 0.0) == 1


@given(st.floats(0.01, 100), st.floats(-5, 5), st.floats(1e-5, 0.2))
def test_quantiles_of_doubt_invert_its_tails(variance: float, third: float, error: float) -> None:
    """On both sides, whatever the skew."""
    doubt = Doubt(nodes=((0.5, variance), (0.5, 2 * variance)), third=third, typical=variance)
    assert doubt.worse(doubt.worse_quantile(error)) == pytest.approx(error, rel=1e-3)
    assert doubt.better(doubt.better_quantile(error)) == pytest.approx(error, rel=1e-3)


@given(st.floats(0, 20), st.floats(0, 20), st.floats(-2, 2))
def test_tails_fall_with_the_distance(one: float, other: float, third: float) -> None:
    """A larger change is never more probable by chance."""
    doubt = Doubt(nodes=((1.0, 1.0),), third=third, typical=1.0)
    near, far = sorted((one, other))
    assert doubt.worse(near) >= doubt.worse(far)
    assert doubt.better(near) >= doubt.better(far)


def test_scatter_of_a_mean() -> None:
    """Pooled over sessions by hand; without two rounds anywhere there is none."""
    pooled = mean_scatter([(1.0, 3.0), (10.0, 10.0, 13.0), (7.0,)])
    assert pooled.one == pytest.approx((2 + 6) / 3)
    assert pooled.third_one == pytest.approx(3 / 2 * (-1 - 1 + 8))
    assert pooled.variance(4) == pytest.approx(pooled.one / 4)
    assert pooled.third(2) == pytest.approx(pooled.third_one / 4)
    assert mean_scatter([(1.0,), (2.0,)]) is None
    assert median_scatter([(1.0,), (2.0,)]) is None
    assert mean_scatter([(1.0, 2.0)]) == MeanScatter(one=0.5)


def test_scatter_of_a_median() -> None:
    """As simulated: normal rounds, and rounds of which one in ten is late by a factor with Pareto's tail."""
    rng = random.Random(7)
    for draw in (lambda: rng.gauss(0, 1), lambda: rng.gauss(0, 0.1) + (rng.random() < 0.1) * rng.expovariate(1.4)):
        sessions = [[draw() for _ in range(9)] for _ in range(40)]
        medians = [statistics.median(draw() for _ in range(9)) for _ in range(20_000)]
        found = median_scatter(sessions)
        assert found.variance(9) == pytest.approx(statistics.variance(medians), rel=0.4)
        assert found.variance(20) < found.variance(9) < found.variance(5)
        assert len(found.residuals) == MOST_RESIDUALS
    assert found.third(5) > 0  # late rounds make the median late


@given(st.integers(1, 60), st.integers(1, 40))
def test_weights_of_medians(count: int, n: int) -> None:
    """They are probabilities and the same from both ends."""
    weights = median_weights(count, n)
    assert math.fsum(weights) == pytest.approx(1)
    assert weights == pytest.approx(weights[::-1], abs=1e-9)


def test_rounds_that_do_not_scatter_at_all() -> None:
    """No doubt: every distance above none is beyond chance, and the search for it ends."""
    certain = Doubt(nodes=((1.0, 0.0),), third=0.0, typical=0.0)
    assert certain.worse_quantile(0.01) == pytest.approx(0.0, abs=1e-300)
