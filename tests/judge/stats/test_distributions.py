"""Distributions against scipy, over wide grids of p and degrees of freedom."""

import math

import numpy as np
import pytest
from scipy import special
from scipy import stats as oracle

from pytest_llmperf.judge.regression.sampling_variance import median_weights
from pytest_llmperf.judge.stats.distributions import (
    beta_cdf,
    beta_quantile,
    binomial_tail,
    chi2_quantile,
    gamma_cdf,
    normal_tail,
    t_quantile,
)

TAILS = (1e-12, 1e-9, 1e-6, 1e-4, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.45, 0.4999)
P = (*TAILS, *(1 - tail for tail in TAILS if tail >= 1e-6))
FREEDOM = (0.5, 1, 1.5, 2, 3, 4, 5, 7, 10, 19, 30, 59, 100, 199, 500, 999, 1e4, 1e5)
SHAPES = (0.5, 1, 1.5, 2, 3, 5.5, 10, 21, 50, 199.5, 1000)


@pytest.mark.parametrize("df", [*FREEDOM, math.inf])
def test_quantiles_of_students_t(df: float) -> None:
    """To 1e-9 of the quantile; infinite degrees of freedom are the normal, to 1e-14."""
    ours = [t_quantile(p, df) for p in P]
    exact = oracle.norm.ppf(P) if math.isinf(df) else oracle.t.ppf(P, df)
    assert ours == pytest.approx(exact, rel=1e-14 if math.isinf(df) else 1e-9)
    assert t_quantile(0.5, df) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("df", FREEDOM)
def test_quantiles_of_chi_square(df: float) -> None:
    """To 1e-9 of the quantile."""
    assert [chi2_quantile(p, df) for p in P] == pytest.approx(oracle.chi2.ppf(P, df), rel=1e-9)


@pytest.mark.parametrize("a", SHAPES)
@pytest.mark.parametrize("b", SHAPES)
def test_the_beta_distribution(a: float, b: float) -> None:
    """Its function to 1e-10 of the value; its quantiles by scipy's function, whose own inverse gives up far out."""
    x = (1e-9, 1e-6, 0.001, 0.05, 0.3, 0.5, 0.7, 0.95, 0.999, 1 - 1e-6)
    assert [beta_cdf(a, b, value) for value in x] == pytest.approx(special.betainc(a, b, x), rel=1e-10, abs=1e-280)
    probabilities = [p for p in P if p < 0.99999]  # the next float below 1 is too far from 1 for more, if b is 1/2
    quantiles = [beta_quantile(p, a, b) for p in probabilities]
    assert special.betainc(a, b, quantiles) == pytest.approx(probabilities, rel=1e-9)


@pytest.mark.parametrize("a", [*SHAPES, 5000])
def test_the_gamma_function(a: float) -> None:
    """To 1e-10 of the value, on both sides of the mean."""
    x = a * np.array([1e-6, 0.01, 0.1, 0.5, 0.9, 1, 1.1, 1.5, 2, 5, 20])
    assert [gamma_cdf(a, value) for value in x] == pytest.approx(special.gammainc(a, x), rel=1e-10, abs=1e-280)


def test_tails_of_the_normal_and_the_fair_coin() -> None:
    """To 1e-12 of the probability, as far out as floats go."""
    z = np.linspace(-12, 37, 500).reshape(2, 250)
    assert normal_tail(z) == pytest.approx(oracle.norm.sf(z), rel=1e-12)
    assert normal_tail(2.0) == pytest.approx(oracle.norm.sf(2.0))
    for n in (1, 2, 5, 20, 100, 1000):
        counts = range(0, n, max(1, n // 17))
        assert [binomial_tail(k, n) for k in counts] == pytest.approx(oracle.binom.cdf(counts, n, 0.5), rel=1e-12)


@pytest.mark.parametrize(("count", "n"), [(5, 5), (40, 7), (200, 5), (200, 20), (200, 999)])
def test_weights_of_medians(count: int, n: int) -> None:
    """The median's share of each order statistic, of an odd and of an even number of draws."""
    half = (n + 1) / 2
    exact = np.diff(oracle.beta.cdf(np.arange(count + 1) / count, half, half))
    assert median_weights(count, n) == pytest.approx(exact, abs=1e-12)
