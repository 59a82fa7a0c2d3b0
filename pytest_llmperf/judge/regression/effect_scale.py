"""The scale on which changes of a metric are compared: the loss, larger for worse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.stats.error_spending import DETECT_DELTAS
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.model import Bound

if TYPE_CHECKING:
    import numpy.typing as npt

    from pytest_llmperf.judge.stats.row_statistics import Array


PERCENT_OF_ZERO = 1.0
"""The base of percentages if the stored value is 0, in the metric's unit: queue time from 0 to 5 ms is 500 % worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A loss scale: ratio metrics are compared in percentage points, other metrics in percent, by logarithms.

    Attributes:
        bound: which side is good.
        unit: the unit of changes: `pp`, or `%`.
        logs: whether the loss is a logarithm.
        factor: turns the metric's unit into that of changes, if no logarithm is taken.
    """

    bound: Bound
    unit: str
    logs: bool = False
    factor: float = 1.0

    def to_loss(self, values: npt.ArrayLike) -> Array:
        """The losses of values, of the same shape."""
        sign = 1.0 if self.bound is Bound.MAX else -1.0
        array = np.asarray(values, dtype=float)
        return sign * np.log(array) if self.logs else sign * self.factor * array

    def shift(self, change: float) -> float:
        """The difference of losses for a change for the worse, in `unit`."""
        if not self.logs:
            return change
        return math.log1p(change / 100) if self.bound is Bound.MAX else -math.log1p(-change / 100)

    def change(self, shift: Array | float) -> Array:
        """The change in `unit` for a difference of losses; the inverse of `shift`."""
        if not self.logs:
            return np.asarray(shift, dtype=float)
        sign = 1.0 if self.bound is Bound.MAX else -1.0
        # More than e^20 times as much is no figure for a report, and exp overflows soon.
        return sign * 100 * np.expm1(np.minimum(sign * np.asarray(shift), 20.0))

    def rounding_variance(self, step: Array, centre: Array) -> Array:
        """The variance of a centre's loss because values are known to steps of the metric's unit.

        Args:
            step: see `resolution.step_of`.
            centre: mean or median, in the metric's unit.
        """
        width = np.log1p(step / centre) if self.logs else self.factor * step
        return width * width / 12


def scale_of(*, bound: Bound, base: float | None, delta: float, least: float) -> Scale:
    """The scale for a comparison.

    Logarithms need values above 0, and a change of DETECT_DELTAS that leaves something; otherwise changes are in
    percent of `base`.

    Args:
        bound: which side is good.
        base: the stored baseline's centre, that changes are percentages of; None: in the metric's own points.
        delta: the smallest change that matters.
        least: the smallest of all values, stored and new.

    Raises:
        MeasurementError: changes are percentages of a base of 0.
    """
    if base is None:
        return Scale(bound=bound, unit="pp")
    if base == 0:
        raise MeasurementError("the stored baseline's centre is 0: a change in percent of it is undefined")
    if least > 0 and (bound is Bound.MAX or DETECT_DELTAS * delta < 100):
        return Scale(bound=bound, unit="%", logs=True)
    return Scale(bound=bound, unit="%", factor=100 / abs(base))
