"""The doubt of a difference: how far two centres can lie apart by chance, and what follows for a change.

Chance is a mixture: a few variances, each with a weight, because the variances themselves are only estimated. Averaging
the normal's tail over `n * s^2 / chi-square` gives Student's t; over a sum of two such variances it gives what is known
as the generalized p-value (Tsui and Weerahandi 1989), which has no closed form and needs none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.distributions import normal_tail
from pytest_llmperf.judge.stats.roots import crossing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_SKEW = 2.0
"""Beyond that of an exponential distribution the estimate of a third cumulant is not believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """What the difference of two centres does where nothing has changed.

    Attributes:
        nodes: weight and variance of each part of the mixture.
        third: third cumulant, towards worse.
        typical: the variance by plain estimates, for power and the like.
        rounding: the part of it that comes of rounded values.
    """

    nodes: Sequence[tuple[float, float]]
    third: float
    typical: float
    rounding: float = 0.0

    @property
    def scatter(self) -> float:
        """The part of the variance that was observed, or is assumed."""
        return self.typical - self.rounding

    def worse(self, distance: float) -> float:
        """How probably chance alone is at least so much for the worse."""
        return self._tail(distance, self.third)

    def better(self, distance: float) -> float:
        """How probably chance alone is at least so much for the better."""
        return self._tail(distance, -self.third)

    def worse_quantile(self, error: float) -> float:
        """The distance that chance exceeds for the worse with this probability."""
        return self._quantile(error, self.worse)

    def better_quantile(self, error: float) -> float:
        """The distance that chance exceeds for the better with this probability."""
        return self._quantile(error, self.better)

    def _tail(self, distance: float, third: float) -> float:
        return math.fsum(weight * skewed_tail(distance, variance, third) for weight, variance in self.nodes)

    def _quantile(self, error: float, tail: Callable[[float], float]) -> float:
        """To 1e-7 of a standard deviation or two; the tail falls with the distance."""
        if not any(variance > 0 for _, variance in self.nodes):
            return 0.0
        return crossing(lambda distance: error - tail(distance), math.sqrt(self.typical) or 1.0, most=1e12)


def skewed_tail(distance: float, variance: float, third: float) -> float:
    """P(error >= distance) of an error of this variance and third cumulant.

    A long tail on this side is that of a gamma distribution with the same skewness, by Wilson and Hilferty's cube
    root (1931). A short one is not believed: it counts as a normal one.
    """
    if variance <= 0:
        return float(distance <= 0)
    z = distance / math.sqrt(variance)
    skew = min(third / variance**1.5, MOST_SKEW)
    if skew > 1e-4:
        z = 6 / skew * (math.cbrt(max(skew / 2 * z + 1, 0.0)) - 1) + skew / 6
    return normal_tail(z)
