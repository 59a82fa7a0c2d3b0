"""The resolution of values: rounded figures and coarse clocks repeat values, and equal values are not exact ones.

A series whose values repeat is known only to its last decimal. Rounds that are rounded alike do not average that out,
so a comparison adds the variance of the rounding, `step^2 / 12` a side, whatever the number of rounds.
"""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

COARSEST = 0.1
"""A whole number may be exact: the coarsest resolution of any value is this ..."""

_DIGITS = 3
"""... or than this many significant digits."""

_SAME = 1e-12
"""Values, or a value and its limit, that differ by less than this share are equal: the rest is rounding of floats."""


def step_of(values: Sequence[float]) -> float:
    """The resolution of a series: the step between neighbouring values, in its unit; 0 if no value but 0 repeats.

    >>> step_of([98.7, 98.7, 98.6]), step_of([100.0, 100.0]), step_of([98.71, 98.72])
    (0.1, 0.1, 0.0)
    """
    repeated = [value for value, count in Counter(values).items() if count > 1 and value]
    return min(map(_step, repeated), default=0.0)


def nearly(first: float, second: float) -> bool:
    """Whether two figures differ only by the rounding of floats."""
    return math.isclose(first, second, rel_tol=_SAME)


def above(value: float, limit: float) -> bool:
    """Whether a value is above its limit by more than the rounding of floats."""
    return value > limit and not nearly(value, limit)


def varies(sd: float, middle: float) -> bool:
    """Whether values with this standard deviation vary by more than the rounding of floats."""
    return sd > _SAME * abs(middle)


def _step(value: float) -> float:
    """The place of the last decimal that a value is written with."""
    exponent = int(Decimal(repr(value)).as_tuple().exponent)
    digits = math.floor(math.log10(abs(value))) - _DIGITS + 1
    return min(float(10.0 ** min(exponent, digits)), COARSEST)
