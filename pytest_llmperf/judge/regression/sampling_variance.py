"""How the centre of n rounds of one session scatters by chance: its variance and its third cumulant.

The third cumulant says how lopsided the scatter is. Efficiency near 100 % has a long tail on its bad side, and a rule
that takes it as symmetric cries wolf.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from pytest_llmperf.judge.stats.distributions import beta_cdf

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_RESIDUALS = 200
"""More than these are thinned to so many quantiles."""

FAR = 4.5
"""Residuals count in the variance of a median as at most so many median distances (three standard deviations)."""


class Scatter(Protocol):
    """Of the centre of n rounds."""

    def variance(self, n: int) -> float:
        """Its variance."""

    def third(self, n: int) -> float:
        """Its third central moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanScatter:
    """Of a mean.

    Attributes:
        one: variance of one round.
        third_one: third cumulant of one round.
    """

    one: float
    third_one: float = 0.0

    def variance(self, n: int) -> float:
        """One round's over n."""
        return self.one / n

    def third(self, n: int) -> float:
        """One round's over n squared."""
        return self.third_one / n**2


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianScatter:
    """Of a median, by the order statistics of what was seen (Maritz and Jarrett 1978): no shape is assumed.

    What the variance is for is how much less it is of more rounds. Few residuals far out would make that much of luck:
    they are drawn in for it. The third cumulant is that of all as they are.

    Attributes:
        residuals: distances of rounds from their session's median, sorted.
    """

    residuals: tuple[float, ...]

    def variance(self, n: int) -> float:
        """Of the median of n draws from the residuals."""
        far = FAR * statistics.median(map(abs, self.residuals))
        return _moment([min(max(value, -far), far) for value in self.residuals], n, 2)

    def third(self, n: int) -> float:
        """Of the median of n draws from the residuals."""
        return _moment(self.residuals, n, 3)


def _moment(values: Sequence[float], n: int, power: int) -> float:
    """A central moment of the median of n draws from sorted values."""
    weights = median_weights(len(values), n)
    middle = math.fsum(w * x for w, x in zip(weights, values, strict=True))
    return math.fsum(w * (x - middle) ** power for w, x in zip(weights, values, strict=True))


@lru_cache(maxsize=1024)
def median_weights(count: int, n: int) -> tuple[float, ...]:
    """How probably each of `count` sorted values is the median of n draws from them."""
    half = (n + 1) / 2
    steps = [beta_cdf(half, half, i / count) for i in range(count + 1)]
    return tuple(after - before for before, after in pairwise(steps))


def mean_scatter(sessions: Sequence[Sequence[float]]) -> MeanScatter | None:
    """Pooled over sessions; None where none has two rounds. Third cumulants need sessions of three rounds."""
    freedom = freedom_of(sessions)
    if freedom < 1:
        return None
    one = math.fsum((len(values) - 1) * statistics.variance(values) for values in sessions if len(values) > 1) / freedom
    thirds = [_third_cumulant(values) for values in sessions if len(values) > 2]
    return MeanScatter(one=one, third_one=statistics.fmean(thirds) if thirds else 0.0)


def median_scatter(sessions: Sequence[Sequence[float]]) -> MedianScatter | None:
    """Pooled over sessions; None where none has two rounds."""
    if freedom_of(sessions) < 1:
        return None
    pooled = sorted(value - statistics.median(values) for values in sessions if len(values) > 1 for value in values)
    if len(pooled) > MOST_RESIDUALS:
        step = len(pooled) / MOST_RESIDUALS
        pooled = [pooled[int((index + 0.5) * step)] for index in range(MOST_RESIDUALS)]
    return MedianScatter(residuals=tuple(pooled))


def freedom_of(sessions: Sequence[Sequence[float]]) -> int:
    """Degrees of freedom within sessions."""
    return sum(len(values) - 1 for values in sessions)


def _third_cumulant(values: Sequence[float]) -> float:
    """Without bias, from three values or more."""
    n, middle = len(values), statistics.fmean(values)
    return n / ((n - 1) * (n - 2)) * math.fsum((value - middle) ** 3 for value in values)
