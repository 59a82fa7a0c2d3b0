"""Confidence sequences by betting: valid at every look, for every distribution within the bounds.

Someone who doubts that the mean is at most `m` bets a fraction of the capital on each value before it is seen: a value
`x` multiplies the capital by `1 - fraction + fraction * x / m`. If the mean is at most `m`, the capital does not grow
on average, and the largest capital ever is `1 / error` or more with probability `error` at most (Ville's inequality),
whatever the distribution and whenever a session stops. Several fractions are bet at once, each with its share of the
capital, since no fraction suits every distribution: "hedged grid Kelly" of Waudby-Smith and Ramdas 2024, "Estimating
means of bounded random variables by betting". A fraction is of the largest bet that cannot lose more than the capital;
the capital then falls with `m`, so that the means that are not refuted are an interval.

A round must not depend on those before it.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.confidence_intervals import CONFIDENCE_PCT, Interval
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.roots import MOST_ROUNDS, first_rounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BETTING_RULE = "betting 1"
"""Name and version of the rule; the version rises with every change that may change a verdict."""

_ALL = 0.4
"""Share of the capital that bets everything: the best bet if every value is on one side."""

_PRECISION = 1e-5
"""Precision of an interval's end, as a share of the range; ends are rounded outwards."""

_AT_ONCE = 1000
"""Values of one array: larger arrays leave the processor's cache."""


def mean_interval(values: Sequence[float], ceiling: float, *, gates: int = 1) -> Interval:
    """The interval of the mean of values from 0 to the ceiling, at all looks at once.

    Args:
        values: one or more, from 0 to the ceiling.
        ceiling: the largest value that the definition allows.
        gates: number of gates that share the error.
    """
    known = np.asarray(values, float)
    return Interval(
        low=_least_mean(known, ceiling, gates),
        high=ceiling - _least_mean(ceiling - known, ceiling, gates),
        method="mean, by betting",
    )


def median_interval(values: Sequence[float], *, gates: int = 1) -> Interval:
    """The interval of the median of any values, at all looks at once: by bets on the share of values below a point.

    The ends are the order statistics that a bet on a share of one half refutes; infinite for too few values.
    """
    ordered, n = sorted(values), len(values)
    count = first_rounds(lambda below: log_capital_of_shares(below, n - below, 0.5) >= log_target(gates), n // 2 + 1, n)
    low, high = (-math.inf, math.inf) if count is None else (ordered[n - count], ordered[count - 1])
    return Interval(low=low, high=high, method="median, by betting")


def rounds_to_refute(values: Sequence[float], mean: float, *, gates: int = 1, most: int = MOST_ROUNDS) -> int | None:
    """The rounds after which bets refute means up to `mean`, if rounds go on like these; None: more than `most`.

    Args:
        values: one or more, from 0.
        mean: above 0.
        gates: number of gates that share the error.
        most: the largest number that is tried.
    """
    growth = _log_growth(np.asarray(values, float), mean) / len(values)
    return first_rounds(lambda rounds: bool(_log_sum(rounds * growth) >= log_target(gates)), 1, most)


def log_capital(values: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """The logarithm of the capital after the values of the last axis, betting against means up to `mean`."""
    return _log_sum(_log_growth(values, mean))


def log_capital_of_shares(won: float, lost: float, share: float) -> float:
    """The logarithm of the capital after bets on events, against a share of won ones up to `share`.

    Args:
        won: their number; a fraction if events are not independent.
        lost: the number of the others, likewise.
        share: above 0 and below 1.
    """
    growth = won * np.log1p(_fractions() * (1 / share - 1))
    if lost:
        with np.errstate(divide="ignore"):
            growth = growth + lost * np.log1p(-_fractions())
    return float(_log_sum(growth))


def log_target(gates: int = 1) -> float:
    """The logarithm of the capital that refutes, on one side of the interval."""
    return math.log(2 * gates / (1 - CONFIDENCE_PCT / 100))


@cache
def _fractions() -> NDArray[np.float64]:
    """The fractions that are bet; the smaller a distance from the limit beside the spread, the smaller the best one."""
    return np.append(np.geomspace(0.005, 0.9, 9), 1.0)


@cache
def _shares() -> NDArray[np.float64]:
    """The share of the capital that bets each fraction."""
    parts = len(_fractions()) - 1
    return np.append(np.full(parts, (1 - _ALL) / parts), _ALL)


def _least_mean(values: NDArray[np.float64], ceiling: float, gates: int) -> float:
    """The largest mean that is refuted as too small; 0 if none is."""
    low, high = 0.0, float(values.mean())
    while high - low > _PRECISION * ceiling:
        middle = (low + high) / 2
        refuted = log_capital(values, middle) >= log_target(gates)
        low, high = (middle, high) if refuted else (low, middle)
    return low


def _log_growth(values: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """The logarithm of what each fraction has made of its capital; fractions are the first axis."""
    total = np.zeros((len(_fractions()), *values.shape[:-1]))
    with np.errstate(divide="ignore"):
        for start in range(0, values.shape[-1], _AT_ONCE):
            returns = values[..., start : start + _AT_ONCE] / mean - 1.0
            total += np.log1p(np.multiply.outer(_fractions(), returns)).sum(axis=-1)
    return total


def _log_sum(growth: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of the whole capital."""
    most = growth.max(axis=0)
    return np.asarray(most + np.log(np.tensordot(_shares(), np.exp(growth - most), 1)))
