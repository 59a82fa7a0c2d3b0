"""Where a smooth function crosses zero, in few steps: each is an average over dozens of normal tails."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_RELATIVE = 1e-7
_NUDGE = 0.2
"""Of the bracket, towards its middle, at first: then the root lies on the other side, which narrows it there."""


def crossing(rising: Callable[[float], float], start: float, *, most: float) -> float:
    """The number, 0 or more, from which on a rising function is above 0; infinite where that is beyond `most`.

    `start` should be of its size: it is exact to 1e-7 of a bracket that is doubled from there. That is narrowed by the
    ITP method (Oliveira and Takahashi 2020): as fast as the secant where the function is smooth, one step slower than
    bisection where it is not.
    """
    low, high = 0.0, start
    if (below := rising(low)) >= 0:
        return low
    while (above := rising(high)) < 0:
        low, below, high = high, above, 2 * high
        if high > most:
            return math.inf
    width, enough = high - low, _RELATIVE * high
    steps = math.ceil(math.log2(width / enough)) + 1
    while high - low > enough:
        middle = (low + high) / 2
        secant = (above * low - below * high) / (above - below)
        back, nudge = middle - secant, _NUDGE * (high - low) ** 2 / width
        tried = secant + math.copysign(nudge, back) if nudge < abs(back) else middle
        room = enough * 2 ** (steps - 1) - (high - low) / 2  # what bisection would have left by then
        if abs(tried - middle) > room:
            tried = middle - math.copysign(room, back)
        if (value := rising(tried)) < 0:
            low, below = tried, value
        else:
            high, above = tried, value
        steps -= 1
    return high
