"""The mean of values below a ceiling: efficiency near 100 %, whose bad side has a long tail and whose good side a wall.

The distances to the ceiling are taken as a gamma distribution, whose cube root is nearly normal (Wilson and Hilferty
1931), and the mean follows from that normal's mean and variance (Krishnamoorthy, Mathew and Mukherjee 2008). Of means
that lie on the limit, at 2.5 % a side, 5 rounds and a shape near the exponential's, Student's t lets 10 % pass, this
2.4 % (`make verdicts`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.distributions import chi2_nodes, normal_tail
from pytest_llmperf.judge.stats.roots import crossing

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where the centre of the rounds lies.

    Attributes:
        low, high: in the metric's unit; may be infinite.
        method: how it was computed, in words.
    """

    low: float
    high: float
    method: str


def bounded_interval(values: Sequence[float], alpha: float, ceiling: float) -> Interval:
    """Interval of the mean of values that are `ceiling` at most; two values or more."""
    roots = [math.cbrt(ceiling - value) for value in values]
    n, middle = len(roots), math.fsum(roots) / len(roots)
    variance = math.fsum((root - middle) ** 2 for root in roots) / (n - 1)
    plain = math.fsum(ceiling - value for value in values) / n
    if variance <= 1e-18:
        return Interval(low=ceiling - plain, high=ceiling - plain, method="cube roots")
    spreads = [(weight, math.sqrt(variance * (n - 1) / x)) for x, weight in chi2_nodes(n - 1)]

    def below(distance: float) -> float:
        """How probably the true mean distance is below this one."""
        return math.fsum(w * normal_tail((middle - _centre(distance, sd)) * math.sqrt(n) / sd) for w, sd in spreads)

    def reaching(p: float) -> float:
        return crossing(lambda distance: below(distance) - p, max(plain, 1e-6), most=1e9)

    low, high = ceiling - reaching(1 - alpha / 2), ceiling - reaching(alpha / 2)
    return Interval(low=low, high=high, method="cube roots")


def _centre(distance: float, sd: float) -> float:
    """The mean m of a normal root whose cube has this mean: m^3 + 3 m sd^2 = distance, by the one real solution."""
    return 2 * sd * math.sinh(math.asinh(distance / (2 * sd**3)) / 3)
