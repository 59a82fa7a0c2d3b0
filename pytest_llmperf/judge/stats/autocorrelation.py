"""Rounds as a series: whether neighbours are alike, what that costs, and which rounds stand out."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.resolution import scatters

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_SERIES = 4
"""Fewer rounds have no autocorrelation worth the name."""

ALIKE = 1.28
"""An autocorrelation is charged where it is so many standard errors above what independent rounds show."""

MOST_AUTOCORRELATION = 0.8
"""More than this is charged as this."""

FAR = 3.5
"""A round stands out when it is so many robust standard deviations from the median (Iglewicz and Hoaglin 1993)."""


def autocorrelation(values: Sequence[float]) -> float | None:
    """That of neighbouring rounds, with the bias of short series taken off (Kendall 1954), within [-1, 1].

    None from fewer than MIN_SERIES rounds, or where all are equal.
    """
    raw = _raw(values)
    return None if raw is None else min(max(raw + (1 + 3 * raw) / len(values), -1.0), 1.0)


def charge(values: Sequence[float]) -> float:
    """By how much the variance of the rounds' centre is multiplied for neighbours that are alike; 1 where they are not.

    It is `(1 + r) / (1 - r)`, that of a first-order autoregression. Few rounds cannot show it well, so this takes off
    a part of the harm only; stored sessions guard against it by themselves, see `judge.regression`.
    """
    raw, n = _raw(values), len(values)
    if raw is None or raw <= -1 / n + ALIKE / math.sqrt(n):
        return 1.0
    r = min(max(raw + (1 + 3 * raw) / n, 0.0), MOST_AUTOCORRELATION)
    return (1 + r) / (1 - r)


def outliers(values: Sequence[float]) -> tuple[int, ...]:
    """Numbers (from 1) of the rounds that stand out; they are reported and never removed."""
    if len(values) < MIN_SERIES:
        return ()
    middle = statistics.median(values)
    # 1.4826 makes the median distance a standard deviation of normal values.
    sd = 1.4826 * statistics.median(abs(value - middle) for value in values)
    if not scatters(sd, middle):
        return ()
    return tuple(number for number, value in enumerate(values, 1) if abs(value - middle) > FAR * sd)


def _raw(values: Sequence[float]) -> float | None:
    """The plain autocorrelation of neighbours, or None."""
    if len(values) < MIN_SERIES:
        return None
    middle = statistics.fmean(values)
    from_middle = [value - middle for value in values]
    squares = math.fsum(x * x for x in from_middle)
    if squares <= 0:
        return None
    return math.fsum(x * y for x, y in pairwise(from_middle)) / squares
