"""The interval of a share of requests: k of m in each round, and the requests of one round resemble each other.

What it promises: with `alpha` from `confidence_intervals.alpha_of_look`, each end is wrong in at most 2.5 % of
sessions, over all looks together, for a correlation of 0 to 0.6 between the requests of one round, if
rounds are alike: some have more bad requests, some fewer, or only a few have bad requests at all (`make verdicts-wide`
simulates it, `docs/verdicts-appendix.md` has the figures). It does not promise that for rare rounds that are bad as a
whole while a few requests of every other round are bad, too: the sample does not show these. Betting on the share of
each round covers them (`judge.stats.betting.mean_interval`, ceiling 1) and needs more rounds.

How: the design effect (Kish 1965) is the variance of the share over that of as many independent requests. It is
estimated from the rounds (the ratio estimator's variance) and replaced by an upper bound: by chi-square, with fewer
degrees of freedom the fewer rounds have a bad request, and as if PSEUDO_ROUNDS more rounds had shown the largest
correlation. If no request is bad, or every one, the design effect is the largest. The interval is Clopper and
Pearson's for the counts over the design effect (Korn and Graubard 1998).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.autocorrelation import variance_inflation
from pytest_llmperf.judge.stats.confidence_intervals import Interval
from pytest_llmperf.judge.stats.distributions import beta_cdf, beta_quantile, chi2_quantile
from pytest_llmperf.judge.stats.numpy_on_demand import np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from pytest_llmperf.judge.stats.row_statistics import Array

MOST_CORRELATION = 0.7
"""The correlation in a round of the largest design effect: 0.6 is promised, the rest is for skewed shares of rounds."""

PSEUDO_ROUNDS = 8
"""Rounds that are added as if they had shown the largest correlation."""

UNLIKELY = 0.05
"""The probability that a design effect is above its bound by chi-square."""


def largest_effect(requests: ArrayLike) -> Array:
    """The design effect at MOST_CORRELATION; requests by round, shape (..., rounds)."""
    sizes = np.asarray(requests, dtype=float)
    effects: Array = 1 + ((sizes * sizes).sum(axis=-1) / sizes.sum(axis=-1) - 1) * MOST_CORRELATION
    return effects


def design_effects(bad: ArrayLike, requests: ArrayLike) -> Array:
    """An upper bound of the design effect of each row, 1 or more.

    Args:
        bad: bad requests by round, shape (..., rounds), two rounds or more.
        requests: all requests by round, 1 or more in each; of the same shape, or one row for all.
    """
    counts = np.asarray(bad, dtype=float)
    sizes = np.broadcast_to(np.asarray(requests, dtype=float), counts.shape)
    n, whole, most = counts.shape[-1], sizes.sum(axis=-1), largest_effect(sizes)
    share = counts.sum(axis=-1) / whole
    residuals = counts - share[..., None] * sizes
    binomial = whole * share * (1 - share) / n  # variance of a round's count, were its requests independent
    mixed = binomial > 0
    seen = (residuals * residuals).sum(axis=-1) / (n - 1) / np.where(mixed, binomial, 1.0)
    telling = np.minimum((counts > 0).sum(axis=-1), (counts < sizes).sum(axis=-1))
    bound = np.maximum(seen * _chi2_factors(telling, n), 1.0)
    shrunk = (bound * (n - 1) + PSEUDO_ROUNDS * most) / (n - 1 + PSEUDO_ROUNDS)
    neighbours = variance_inflation(counts / sizes)
    return np.where(mixed, np.minimum(shrunk, most), most) * neighbours


def effective_counts(bad: ArrayLike, requests: ArrayLike) -> tuple[Array, Array]:
    """Bad requests and all requests of each row over the design effect: as many independent ones say as much."""
    effects = design_effects(bad, requests)
    counts = np.asarray(bad, dtype=float)
    sizes = np.broadcast_to(np.asarray(requests, dtype=float), counts.shape)
    return counts.sum(axis=-1) / effects, sizes.sum(axis=-1) / effects


def share_interval(bad: Sequence[int], requests: Sequence[int], alpha: float) -> Interval:
    """The interval of the share of bad requests, see the module.

    Args:
        bad: by round, two rounds or more.
        requests: by round, 1 or more in each.
        alpha: the two-sided error of this look.
    """
    count, n = (float(value) for value in effective_counts(bad, requests))
    effect = sum(requests) / n
    low = beta_quantile(alpha / 2, count, n - count + 1) if count > 0 else 0.0
    high = beta_quantile(1 - alpha / 2, count + 1, n - count) if n - count > _NONE else 1.0
    method = f"Clopper-Pearson, {sum(requests)} requests of {len(requests)} rounds count as {math.floor(n)} independent"
    return Interval(low=low, high=high, method=method if effect > 1 else "Clopper-Pearson")


def excluded(count: float, n: float, share: float, alpha: float) -> tuple[bool, bool]:
    """Whether `share_interval` is below a share, and whether it is above; count and n effective."""
    below = n - count > _NONE and beta_cdf(count + 1, n - count, share) >= 1 - alpha / 2
    return below, count > 0 and beta_cdf(count, n - count + 1, share) <= alpha / 2


_NONE = 1e-9
"""As good as no request, after a division."""


def _chi2_factors(telling: Array, n: int) -> Array:
    """By how much a variance may be larger than it seems, by the rounds of n with a bad (or a good) request."""
    values, places = np.unique(telling, return_inverse=True)
    factors = [_chi2_factor(int(value), n) for value in values]
    return np.asarray(factors)[places].reshape(telling.shape)


def _chi2_factor(telling: int, n: int) -> float:
    if not telling:
        return 1.0
    # The variance of counts that are seldom above 0 is known as badly as their kurtosis says.
    freedom = 2 / (1 / telling + 2 / n)
    return freedom / chi2_quantile(UNLIKELY, freedom)
