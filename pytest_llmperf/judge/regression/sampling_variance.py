"""The sampling variance of a session's centre: how far the mean or median of n rounds varies by chance.

The third cumulant says how skewed it is. Efficiency near 100 % has its long tail on the bad side, and a rule that
assumes symmetry raises false alarms. Arrays have any number of leading batch axes; for a single run they have none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from pytest_llmperf.judge.stats.distributions import beta_cdf
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.row_statistics import exact_row_means, row_means, row_steps
from pytest_llmperf.judge.stats.summary import Aggregate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.regression.effect_scale import Scale
    from pytest_llmperf.judge.stats.row_statistics import Array

MOST_RESIDUALS = 200
"""More residuals than this are thinned to as many quantiles."""

FAR = 4.5
"""Residuals count in the variance of a median as at most this many median distances (three standard deviations)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanVariance:
    """The sampling variance of a mean, pooled over sessions.

    Attributes:
        squares: the sum of squared distances of rounds from their session's mean.
        freedom: degrees of freedom of `squares`.
        cumulants: the sum of the third cumulants of sessions of three rounds or more.
        cumulants_count: the number of these sessions.
    """

    squares: Array
    freedom: int
    cumulants: Array
    cumulants_count: int

    @classmethod
    def of(cls, group: Array) -> MeanVariance:
        """For sessions of equal length, shape (..., sessions, rounds)."""
        count, n = group.shape[-2:]
        residuals = group - row_means(group)[..., None]
        squares = residuals * residuals
        cubes = (squares * residuals).sum(axis=(-2, -1))
        return cls(
            squares=squares.sum(axis=(-2, -1)),
            freedom=count * (n - 1),
            cumulants=cubes * n / ((n - 1) * (n - 2)) if n > 2 else np.zeros_like(cubes),
            cumulants_count=count if n > 2 else 0,
        )

    def plus(self, group: Array) -> MeanVariance:
        """Pooled with more sessions of equal length."""
        more = MeanVariance.of(group)
        return MeanVariance(
            squares=self.squares + more.squares,
            freedom=self.freedom + more.freedom,
            cumulants=self.cumulants + more.cumulants,
            cumulants_count=self.cumulants_count + more.cumulants_count,
        )

    def moments(self, n: int) -> tuple[Array, Array]:
        """Variance and third central moment of the mean of n rounds."""
        return self.squares / self.freedom / n, self.cumulants / max(self.cumulants_count, 1) / n**2


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianVariance:
    """The sampling variance of a median, from the order statistics of all residuals (Maritz and Jarrett 1978).

    No shape of the distribution is assumed. The variance tells how much more rounds help. Few residuals far out would
    make that a matter of luck, so the variance takes them as nearer; the third moment takes all as they are.

    Attributes:
        residuals: distances of rounds from their session's median, pooled over sessions of two rounds or more, sorted.
        freedom: degrees of freedom of the residuals.
    """

    residuals: Array
    freedom: int

    @classmethod
    def of(cls, group: Array) -> MedianVariance:
        """For sessions of equal length, shape (..., sessions, rounds)."""
        count, n = group.shape[-2:]
        residuals = group - np.median(group, axis=-1, keepdims=True)
        pooled = residuals.reshape(*group.shape[:-2], count * n)[..., : count * n if n > 1 else 0]
        return cls(residuals=np.sort(pooled, axis=-1), freedom=count * (n - 1))

    def plus(self, group: Array) -> MedianVariance:
        """Pooled with more sessions of equal length."""
        more = MedianVariance.of(group)
        pooled = np.concatenate([self.residuals, more.residuals], axis=-1)
        return MedianVariance(residuals=np.sort(pooled, axis=-1, kind="stable"), freedom=self.freedom + more.freedom)

    def moments(self, n: int) -> tuple[Array, Array]:
        """Variance and third central moment of the median of n draws from the residuals."""
        drawn, count = self.residuals, self.residuals.shape[-1]
        if count > MOST_RESIDUALS:
            drawn = drawn[..., ((np.arange(MOST_RESIDUALS) + 0.5) * (count / MOST_RESIDUALS)).astype(int)]
        far = FAR * np.median(np.abs(drawn), axis=-1, keepdims=True)
        weights = median_weights(drawn.shape[-1], n)
        near = np.clip(drawn, -far, far)
        near = near - (near @ weights)[..., None]
        drawn = drawn - (drawn @ weights)[..., None]
        return (near * near) @ weights, (drawn * drawn * drawn) @ weights


FARTHEST = 6.0
"""The median of n draws is never taken to be farther than this over sqrt(n) from the middle of the ranks: 12 sd."""

SamplingVariance: TypeAlias = MeanVariance | MedianVariance


def sampling_variance(aggregate: Aggregate, groups: Sequence[Array]) -> SamplingVariance:
    """Pooled over groups of sessions of equal length, each of shape (..., sessions, rounds)."""
    pool: SamplingVariance = (MedianVariance if aggregate is Aggregate.MEDIAN else MeanVariance).of(groups[0])
    for group in groups[1:]:
        pool = pool.plus(group)
    return pool


def rounding_variance(aggregate: Aggregate, scale: Scale, groups: Sequence[Array]) -> Array:
    """The variance of the mean of sessions' centres, on the loss scale, because values are known to some decimal only.

    Args:
        aggregate: what a session's centre is.
        scale: the scale of the losses.
        groups: values in the metric's unit, each of shape (..., sessions, rounds).
    """
    pooled = np.concatenate([group.reshape(*group.shape[:-2], -1) for group in groups], axis=-1)
    steps = row_steps(pooled)
    if not steps.any():
        return steps
    return scale.rounding_variance(steps, np.concatenate([centres_of(aggregate, g) for g in groups], axis=-1).mean(-1))


def centres_of(aggregate: Aggregate, values: Array) -> Array:
    """The mean or median of each row, shape (..., rounds)."""
    return np.median(values, axis=-1) if aggregate is Aggregate.MEDIAN else exact_row_means(values)


@lru_cache(maxsize=1024)
def median_weights(count: int, n: int) -> Array:
    """How probably each of `count` sorted values is the median of n draws from them."""
    half, nearest = (n + 1) / 2, 0.5 - FARTHEST / math.sqrt(n)
    # A symmetric beta distribution with an sd of 0.5 / sqrt(n + 2): of many rounds hardly any place has a weight.
    below = [beta_cdf(half, half, i / count) if i > nearest * count else 0.0 for i in range(count // 2 + 1)]
    steps = below + [1 - below[count - i] for i in range(count // 2 + 1, count + 1)]
    return np.array([after - before for before, after in pairwise(steps)])
