"""Rounds with tails: ends of an interval where Student's t, which takes rounds as symmetric, is too near.

- **A tail below** (efficiency): few rounds do not show a rare bad one, and then Student's t passes what it should not.
  The lower end is Hall's (1992) correction by the rounds' skewness and TAIL more: what they do not show is assumed.
- **A wall above** (efficiency near 100 %): the distances to it are taken as gamma distributed. Their fourth roots are
  nearly normal for any shape, also far below the exponential's (Hawkins and Wixley 1986), and the mean follows from
  that normal's mean and variance, as Krishnamoorthy, Mathew and Mukherjee (2008) do with cube roots, which need a shape
  of 1. For true means on the limit, at 2.5 % a side, 5 rounds and a shape near the exponential's, Student's t lets
  10 % pass.
- **A tail above** (rates, times): the mean of a lognormal, by logarithms.
- **The standard deviation** of a CV has fewer degrees of freedom where rounds have heavier tails than the normal's.

These only move an end outwards. Chosen by simulation at 5 to 20 rounds, all looks: see docs/verdicts-appendix.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.distributions import chi2_nodes, chi2_quantile, normal_tail, t_quantile
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.roots import crossing
from pytest_llmperf.judge.stats.row_statistics import row_means, row_variances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.stats.row_statistics import Array

TAIL = 0.95
"""Skewness towards the bad side that few rounds may hide."""

SHOWN = 0.5
"""The share of the observed skewness that is added to it: the skewness of few rounds is mostly chance."""

TAILS = 1.25
"""Kurtosis that few rounds may hide, where the standard deviation is what counts."""

_LEAST = 1e-6
_MOST_EXPONENT = 700.0
_EQUAL = 1e-18
"""Fourth roots with at most this variance are equal but for the rounding of floats."""


def row_skewness(values: Array) -> Array:
    """The skewness of each row, shape (..., rounds); 0 where all are equal."""
    residuals = values - row_means(values)[..., None]
    squares = residuals * residuals
    second, third = squares.mean(axis=-1), (squares * residuals).mean(axis=-1)
    return np.where(second > 0, third / np.where(second > 0, second, 1.0) ** 1.5, 0.0)


def end_with_tail_below(values: Array, alpha: float, explained: Array | float = 0.0) -> Array:
    """The lower end for the mean of each row, of two values or more, whose long tail is below.

    Args:
        values: shape (..., rounds).
        alpha: the two-sided error.
        explained: skewness that a ceiling explains, and another interval takes into account.
    """
    n = values.shape[-1]
    root, quantile = n**0.5, t_quantile(1 - alpha / 2, n - 1)
    skewness = np.minimum(SHOWN * row_skewness(values) - TAIL + explained, -_LEAST) / root
    shifted = 3 / skewness * (np.cbrt(1 + skewness * (quantile - skewness / 6)) - 1)
    farther = np.maximum(shifted, quantile)
    ends: Array = row_means(values) - farther * np.sqrt(row_variances(values)) / root
    return ends


def bounded_ends(values: Array, alpha: float, ceiling: float) -> tuple[Array, Array]:
    """Both ends of the interval of the mean of each row, of two values or more that are `ceiling` at most."""
    distances = ceiling - values
    roots, plain = np.sqrt(np.sqrt(distances)), row_means(distances)
    n, middle, variance = values.shape[-1], row_means(roots), row_variances(roots)
    equal = variance <= _EQUAL
    x, weights = chi2_nodes(n - 1)
    sd = np.sqrt(np.where(equal, 1.0, variance)[..., None] * (n - 1) / x)

    def below(distance: Array) -> Array:
        """The probability that the true mean distance is below this one."""
        deviation = middle[..., None] - _normal_mean(distance[..., None], sd)
        return normal_tail(deviation * math.sqrt(n) / sd) @ weights

    def reaching(p: float) -> Array:
        return np.where(equal, plain, crossing(lambda d: below(d) - p, np.maximum(plain, 1e-6), most=1e9))

    return ceiling - reaching(1 - alpha / 2), ceiling - reaching(alpha / 2)


def _normal_mean(distance: Array, sd: Array) -> Array:
    """The mean m of a normal variable whose fourth power has this mean: m^4 + 6 m^2 sd^2 + 3 sd^4 = distance.

    Below 3 sd^4 there is none; it goes on below 0, so that it rises everywhere.
    """
    variance = sd * sd
    squared = np.sqrt(6 * variance * variance + distance) - 3 * variance
    return np.copysign(np.sqrt(np.abs(squared)), squared)


def end_by_logarithms(values: Array, alpha: float) -> Array:
    """The upper end for the mean of each row, of two positive values or more, by their logarithms; infinite if far.

    The errors of the logarithms' mean and of their variance are each taken at alpha and added as squares (Zou, Huo and
    Taleban 2009).
    """
    n, logs = values.shape[-1], np.log(values)
    half_variance = row_variances(logs) / 2
    of_mean = t_quantile(1 - alpha / 2, n - 1) * np.sqrt(2 * half_variance / n)
    of_variance = half_variance * ((n - 1) / chi2_quantile(alpha / 2, n - 1) - 1)
    end = row_means(logs) + half_variance + np.hypot(of_mean, of_variance)
    return np.where(end < _MOST_EXPONENT, np.exp(np.minimum(end, _MOST_EXPONENT)), np.inf)


def sd_freedom(values: Sequence[float], n: int) -> float:
    """Degrees of freedom of the standard deviation of n rounds with the tails of these (Hummel and others 2005).

    Normal rounds have n - 1. What these show of their kurtosis counts by SHOWN, what they hide is TAILS.
    """
    rows, count = np.asarray(values, dtype=float), len(values)
    squares = (rows - rows.mean()) ** 2
    second = float(squares.mean())
    # Few normal rounds show -6 / (n + 1) instead of 0.
    shown = float((squares * squares).mean()) / second**2 - 3 + 6 / (count + 1) if second > 0 else 0.0
    kurtosis = max(SHOWN * shown + TAILS, 0.0)
    freedom = min(2 * n / (kurtosis + 2 * n / (n - 1)), n - 1)
    return max(math.floor(10 * freedom) / 10, 1.0)  # quantiles are kept for each number
