"""Where functions cross zero, in few steps: each value of a smooth one is an average over dozens of normal tails."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.numpy_on_demand import np

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llmperf.judge.stats.row_statistics import Array

_RELATIVE = 1e-7
_NUDGE = 0.2
"""Share of the bracket, towards its middle, at first: then the root is on the far side, which narrows the bracket."""

MOST_ROUNDS = 1000
"""The largest number of rounds that is tried when estimating how many would decide."""


def crossing(rising: Callable[[Array], Array], start: Array, *, most: float) -> Array:
    """For each element, the number, 0 or more, from which a rising function is above 0; infinite if beyond `most`.

    `start` should be of the roots' size: the result is exact to 1e-7 of a bracket that is doubled from there. The
    bracket is narrowed by the ITP method (Oliveira and Takahashi 2020): as fast as the secant for a smooth function,
    one step slower than bisection for any other.
    """
    low, high = np.zeros_like(start), start
    below, above = rising(low), rising(high)
    at_zero = below >= 0
    while (short := (above < 0) & ~at_zero & (high <= most)).any():
        low, below, high = np.where(short, high, low), np.where(short, above, below), np.where(short, 2 * high, high)
        above = np.where(short, rising(high), above)
    beyond = high > most
    width, enough = high - low, _RELATIVE * high
    steps = np.ceil(np.log2(width / enough)) + 1
    while (wide := (high - low > enough) & ~at_zero & ~beyond).any():
        middle = (low + high) / 2
        rise = np.where(wide, above - below, 1.0)
        secant = (above * low - below * high) / rise
        back, nudge = middle - secant, _NUDGE * (high - low) ** 2 / width
        tried = np.where(nudge < np.abs(back), secant + np.copysign(nudge, back), middle)
        room = enough * 2 ** (steps - 1) - (high - low) / 2  # the bracket that bisection would have by then
        tried = np.where(np.abs(tried - middle) > room, middle - np.copysign(room, back), tried)
        value = rising(tried)
        left, right = wide & (value < 0), wide & (value >= 0)
        low, below = np.where(left, tried, low), np.where(left, value, below)
        high, above = np.where(right, tried, high), np.where(right, value, above)
        steps = steps - 1
    return np.where(at_zero, 0.0, np.where(beyond, math.inf, high))


def first_rounds(decided: Callable[[int], bool], start: int, most: int = MOST_ROUNDS) -> int | None:
    """The least number from `start` to `most` that decides, or None; once decided, always decided."""
    if start > most or not decided(most):
        return None
    low, high = start, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle + 1, high)
    return high
