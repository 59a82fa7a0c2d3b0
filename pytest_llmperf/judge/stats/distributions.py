"""Quantiles and tails of the normal, Student's t, chi-square and beta distributions, and the binomial tail.

The regularised incomplete beta and gamma functions use their series and continued fractions (DLMF 8.11.4, 8.9.2,
8.17.22), inverted to 14 digits. These take numbers and are cached: they depend on the numbers of rounds and on error
levels only. `normal_tail`, which is a function of measured values, takes arrays. The
tests compare all of them with scipy.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.numpy_on_demand import np

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llmperf.judge.stats.row_statistics import Array

_TINY = 1e-300
_EPS = 1e-15
_DIGITS = 1e-14
_MAX_TERMS = 100_000


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """The p quantile of Student's t with `df` degrees of freedom (infinite: the normal).

    Raises:
        ValueError: p is not in (0, 1), or df not above 0.
    """
    _check("t_quantile", p, df)
    if math.isinf(df):
        return NormalDist().inv_cdf(p)
    tail = min(p, 1 - p)
    # P(|T| > t) is the beta distribution (df / 2, 1 / 2) below df / (df + t^2), or (1 / 2, df / 2) above the rest of 1:
    # the share that is not near 1 is the exact one.
    if tail < 0.25:
        x = beta_quantile(2 * tail, df / 2, 0.5)
        t = math.sqrt(df * (1 - x) / x)
    else:
        y = beta_quantile(1 - 2 * tail, 0.5, df / 2)
        t = math.sqrt(df * y / (1 - y))
    return math.copysign(t, p - 0.5)


@lru_cache(maxsize=4096)
def chi2_quantile(p: float, df: float) -> float:
    """The p quantile of chi-square with `df` degrees of freedom.

    Raises:
        ValueError: p is not in (0, 1), or df not above 0.
    """
    _check("chi2_quantile", p, df)
    high = df + 10.0
    while gamma_cdf(df / 2, high / 2) < p:
        high *= 2
    return _invert(lambda x: gamma_cdf(df / 2, x / 2), p, 0.0, high)


@lru_cache(maxsize=4096)
def beta_quantile(p: float, a: float, b: float) -> float:
    """The p quantile of the beta distribution, in [0, 1]; p may be 0 or 1."""
    return _invert(lambda x: beta_cdf(a, b, x), p, 0.0, 1.0)


def normal_tail(z: Array | float) -> Array:
    """P(Z > z) for the standard normal, element by element: no numpy function has it, and scipy's import costs more."""
    scaled = np.asarray(z, dtype=float) / math.sqrt(2)
    tails = np.fromiter(map(math.erfc, scaled.ravel().tolist()), dtype=float, count=scaled.size)
    return tails.reshape(scaled.shape) / 2


@lru_cache(maxsize=1024)
def chi2_nodes(df: int) -> tuple[Array, Array]:
    """Chi-square as values x and weights w, to average smooth functions: at most 48 values, even in the logarithm.

    `sum(w * normal_tail(t * sqrt(x / df)))` is Student's tail at t, within two percent down to 1e-4 (tested).

    Raises:
        ValueError: df is not above 0.
    """
    if not df > 0:
        raise ValueError(f"chi2_nodes: df is {df!r}, wanted above 0")
    wide = math.sqrt(2 / df)
    # Small numbers of degrees of freedom have a long tail towards 0, where Student's t has its own.
    low, high = math.log(df) - 9 * wide - (14 / df if df < 6 else 0), math.log(df) + 6.5 * wide
    logs = low + (high - low) * np.arange(48) / 47
    densities = np.exp(df / 2 * (logs - math.log(df)) - (np.exp(logs) - df) / 2)
    weights = densities / densities.sum()
    kept = weights > 1e-10
    return np.exp(logs[kept]), weights[kept]


def binomial_tail(k: int, n: int) -> float:
    """P(X <= k) of n tosses of a fair coin, k from 0 to n."""
    return beta_cdf(n - k, k + 1, 0.5) if k < n else 1.0


@lru_cache(maxsize=4096)
def median_order(n: int, alpha: float) -> int:
    """The rank k for which the k-th smallest and the k-th largest of n values enclose the median with 1 - alpha.

    0 if there is no such rank. Bisection computes a dozen binomial tails for thousands of values instead of all tails.
    """
    low, high = -1, n // 2  # the tail up to `low` is small enough, that up to `high` is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if 2 * binomial_tail(middle, n) <= alpha else (low, middle)
    return low + 1


def beta_cdf(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    # The fraction converges fast only below the mean; above it the symmetric form does.
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, 1 - x) / b


def gamma_cdf(a: float, x: float) -> float:
    """The regularised lower incomplete gamma function P(a, x)."""
    if x <= 0:
        return 0.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for n in range(1, _MAX_TERMS):
            term *= x / (a + n)
            total += term
            if term < total * _EPS:
                break
        return front * total
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    h = d
    for n in range(1, _MAX_TERMS):
        factor = -n * (n - a)
        b += 2
        d = 1 / _away_from_zero(factor * d + b)
        c = _away_from_zero(b + factor / c)
        h *= d * c
        if abs(d * c - 1) < _EPS:
            break
    return 1 - front * h


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    h = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for factor in (even, odd):
            d, c = 1 + factor * d, 1 + factor / c
            # Inline: a call for each would take half of the time.
            d = 1 / (d if abs(d) > _TINY else _TINY)
            c = c if abs(c) > _TINY else _TINY
            h *= d * c
        if abs(d * c - 1) < _EPS:
            break
    return h


def _away_from_zero(value: float) -> float:
    """The value, or the least number that can be divided by."""
    return value if abs(value) > _TINY else _TINY


def _invert(cdf: Callable[[float], float], p: float, low: float, high: float) -> float:
    """The x, from 0, at which a rising function reaches p, to 14 digits; `low` for p = 0.

    By secants; one that leaves most of the bracket is followed by a step just beyond it, then by bisection.
    """
    below, above, beyond = cdf(low) - p, cdf(high) - p, 0.0
    while p > 0 and high - low > _DIGITS * high and low < (middle := (low + high) / 2) < high:
        width = high - low
        secant = (above * low - below * high) / (above - below) if above > below else middle
        tried = secant + beyond if low < secant + beyond < high else middle
        value = cdf(tried) - p
        if value < 0:
            step, low, below = tried - low, tried, value
        else:
            step, high, above = high - tried, tried, value
        if high - low < width / 2:
            beyond = 0.0
        elif beyond:
            beyond = math.inf
        else:
            beyond = math.copysign(max(step, _DIGITS * high / 4), -value)
    return high if p > 0 else low


def _check(function: str, p: float, df: float) -> None:
    """Arguments in range, or a ValueError."""
    if not (0 < p < 1 and df > 0):
        raise ValueError(f"{function}: p is {p!r}, wanted within (0, 1); df is {df!r}, wanted above 0")
