"""The scale on which changes of a metric add up, turned so that more is worse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.stats.error_spending import BEYOND
from pytest_llmperf.model import Bound

if TYPE_CHECKING:
    from collections.abc import Sequence


PERCENT_OF_ZERO = 1.0
"""In the metric's unit: what a change from 0 is a percentage of. A queue time of 0 that becomes 5 ms is 500 % worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Percentages of ratio class as they are, in points; what is compared in percent, by logarithms.

    Attributes:
        bound: which side is good.
        unit: of changes: `pp`, or `%`.
        logs: whether logarithms are taken.
        factor: turns the metric's unit into that of changes, where none are taken.
    """

    bound: Bound
    unit: str
    logs: bool = False
    factor: float = 1.0

    def badness(self, values: Sequence[float]) -> tuple[float, ...]:
        """The values on this scale."""
        sign = 1 if self.bound is Bound.MAX else -1
        return tuple(sign * (math.log(value) if self.logs else self.factor * value) for value in values)

    def shift(self, change: float) -> float:
        """A change for the worse, in `unit`, on this scale."""
        if not self.logs:
            return change
        return math.log1p(change / 100) if self.bound is Bound.MAX else -math.log1p(-change / 100)

    def rounding(self, step: float, centre: float) -> float:
        """The variance, on this scale, of a centre that is known to steps of the metric's unit.

        Args:
            step: see `resolution.step_of`.
            centre: in the metric's unit.
        """
        width = math.log1p(step / centre) if self.logs else self.factor * step
        return width * width / 12

    def change(self, shift: float) -> float:
        """What a distance on this scale is in `unit`; the inverse of `shift`."""
        if not self.logs:
            return shift
        # More than e^20 times as much is no figure for a report, and exp overflows soon.
        return 100 * math.expm1(min(shift, 20)) if self.bound is Bound.MAX else -100 * math.expm1(min(-shift, 20))


def scale_of(*, bound: Bound, in_points: bool, base: float, delta: float, values: Sequence[float]) -> Scale:
    """The scale for all these values.

    Logarithms need values above 0, and a change of BEYOND deltas that leaves something; else percent of `base` are
    taken.

    Args:
        bound: which side is good.
        in_points: changes are stated in the metric's own points.
        base: the stored baseline's centre.
        delta: the smallest change that matters.
        values: stored and new.

    Raises:
        MeasurementError: the base is 0 and percent of it are asked for.
    """
    if in_points:
        return Scale(bound=bound, unit="pp")
    if base == 0:
        raise MeasurementError("the stored baseline's centre is 0: a change in percent of it is undefined")
    if min(values) > 0 and (bound is Bound.MAX or BEYOND * delta < 100):
        return Scale(bound=bound, unit="%", logs=True)
    return Scale(bound=bound, unit="%", factor=100 / abs(base))
