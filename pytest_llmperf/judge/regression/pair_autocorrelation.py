"""Neighbouring pairs that are alike: what autocorrelation does to the variance of their mean difference.

If each side has a memory of its own (two machines, two neighbours), the mean of a few differences varies far more than
independent ones would. The sums of pairs have the same memory as the differences, so both together show it: with twice
as many values as the differences alone. If the session itself moves, it moves the sums only; they then vary more than
the differences and say nothing of their memory.

Fewer than FEWEST_PAIRS cannot show any of it: an autocorrelation of ASSUMED is taken for granted until there are more,
unless the session ends there. Differences that hardly vary are decided all the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.autocorrelation import corrected, lag_one
from pytest_llmperf.judge.stats.distributions import t_quantile
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.row_statistics import row_variances

if TYPE_CHECKING:
    from pytest_llmperf.judge.stats.row_statistics import Array

FEWEST_PAIRS = 7
"""The least number of pairs that show whether neighbours are alike."""

ASSUMED = 0.9
"""The autocorrelation that is assumed of fewer pairs."""

ALIKE = 0.84
"""Standard errors above that of independent pairs from which on an autocorrelation counts."""

MOST = 0.97
"""A larger autocorrelation counts as this one."""

SESSION_MOVES = 2.0
"""Sums that vary by this factor more than the differences have moved with the session: they are left out."""

_USUAL_ERROR = 0.005
"""The error at which a variance of few degrees of freedom gives the tail that it would give with all of them."""


def pair_autocorrelation(incumbent: Array, candidate: Array, *, last: bool) -> Array:
    """The autocorrelation of neighbouring pairs that counts; 0 if there is no sign of any.

    Args:
        incumbent: losses, one a pair, shape (..., pairs).
        candidate: the same.
        last: whether the session ends with these pairs.
    """
    n = candidate.shape[-1]
    if n < FEWEST_PAIRS:
        return np.full(candidate.shape[:-1], 0.0 if last else ASSUMED)
    differences, sums = candidate - incumbent, candidate + incumbent
    of_differences, of_sums = (np.nan_to_num(lag_one(side), nan=-1.0) for side in (differences, sums))
    both = row_variances(sums) < SESSION_MOVES * row_variances(differences)
    raw = np.where(both, (of_differences + of_sums) / 2, of_differences)
    error = np.sqrt(1 / np.where(both, 2 * n, n))
    return np.where(raw > ALIKE * error - 1 / n, np.clip(corrected(raw, n), 0.0, MOST), 0.0)


def pair_inflation(autocorrelation: Array, n: int) -> Array:
    """The factor for the variance of the mean of n pairs, if it is taken from their sample variance.

    It allows for three things: the mean varies more, the sample varies less, and if the autocorrelation is estimated,
    as many independent pairs would be fewer, so that Student's t has fewer degrees of freedom.
    """
    r = autocorrelation
    wider = (1 + r) / (1 - r) - 2 * r * (1 - r**n) / (n * (1 - r) ** 2)
    estimated = (r > 0) & (n >= FEWEST_PAIRS)
    freedom = np.where(estimated, np.clip(np.rint(n / wider - 1), 1, n - 1), n - 1)
    heavier = np.ones_like(freedom)
    for less in set(freedom[freedom < n - 1].ravel().tolist()):
        ratio = t_quantile(1 - _USUAL_ERROR, less) / t_quantile(1 - _USUAL_ERROR, n - 1)
        heavier = np.where(freedom == less, ratio**2, heavier)
    return wider * (n - 1) / np.maximum(n - wider, 0.5) * heavier


def alike_words(inflation: float, n: int) -> str:
    """What the inflation does to the interval of n pairs, for a reason; empty if it does nothing."""
    if inflation <= 1:
        return ""
    wide = f"the interval is {math.sqrt(inflation):.1f} times as wide as"
    if n < FEWEST_PAIRS:
        return f"{wide} for independent pairs until there are {FEWEST_PAIRS}, which show whether neighbours are alike"
    return f"{wide} for independent pairs, because neighbouring pairs are alike"
