"""Summaries of the values of rounds."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_ROUNDS = 3
"""Fewer are exploratory (decision card) and decide nothing."""


class Aggregate(StrEnum):
    """How one figure is computed from the values of rounds."""

    MEAN = "mean"
    MEDIAN = "median"
    RATE = "rate"  # share of rounds whose value is 1
    CV = "cv"  # sample standard deviation over the mean, percent
    MAX = "max"  # of the largest round
    PERCENTILE = "percentile"  # over the requests of all rounds
    REQUESTS = "share of requests"  # of all rounds, that keep every limit


OVER_REQUESTS = (Aggregate.PERCENTILE, Aggregate.REQUESTS)
"""Aggregates of single requests: a round has no value of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Prior knowledge of the distribution of rounds.

    Attributes:
        ceiling: the largest value that the metric's definition allows; None: there is none.
        tail_below: whether there may be a long tail of low rounds that few rounds do not show.
        tail_above: the same for high rounds of a share of a whole, which has a wall at 0; only with a ceiling.
    """

    ceiling: float | None = None
    tail_below: bool = False
    tail_above: bool = False


UNKNOWN_SHAPE = Shape()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Figures of the values of rounds.

    Attributes:
        values: one a round.
        n: the number of values.
        mean, median, min, max: these statistics in the metric's unit.
        sd: sample standard deviation (ddof = 1); None for one value.
        cv_pct: sd / mean * 100; None for one value or a mean that is not positive.
        p50, p95, p99: percentiles by linear interpolation, or the maximum if n cannot support them.
        p95_supported, p99_supported: whether they are percentiles (n of at least 20, 100) or the maximum.
    """

    values: tuple[float, ...]
    n: int
    mean: float
    median: float
    sd: float | None
    cv_pct: float | None
    min: float
    max: float
    p50: float
    p95: float
    p99: float
    p95_supported: bool
    p99_supported: bool


def summarise(values: Sequence[float]) -> Summary:
    """Summarise one value a round.

    Args:
        values: one or more, finite.

    Raises:
        MeasurementError: no value, or one that is not finite.

    Source: report, A.4; by rounds.
    """
    check_finite(values)
    n = len(values)
    ordered = sorted(values)
    p95_supported, p99_supported = n * 5 >= 100, n >= 100
    return Summary(
        values=tuple(values),
        n=n,
        mean=mean(values),
        median=statistics.median(values),
        sd=sample_sd(values) if n > 1 else None,
        cv_pct=_cv_pct(values),
        min=ordered[0],
        max=ordered[-1],
        p50=_percentile(ordered, 50),
        p95=_percentile(ordered, 95) if p95_supported else ordered[-1],
        p99=_percentile(ordered, 99) if p99_supported else ordered[-1],
        p95_supported=p95_supported,
        p99_supported=p99_supported,
    )


def aggregate_values(aggregate: Aggregate, values: Sequence[float]) -> float:
    """One figure for the values of rounds: mean (of 0 and 1 for a rate), median, maximum, or CV in percent.

    Raises:
        MeasurementError: no value, one that is not finite, or a CV of a mean that is not positive.
    """
    check_finite(values)
    if aggregate is Aggregate.MEDIAN:
        return statistics.median(values)
    if aggregate is Aggregate.MAX:
        return max(values)
    if aggregate is Aggregate.CV:
        cv_pct = _cv_pct(values)
        if cv_pct is None:
            raise MeasurementError(f"CV is undefined for {len(values)} values of mean {mean(values):g}")
        return cv_pct
    return mean(values)


def reference_centre(aggregate: Aggregate, sessions: Sequence[Sequence[float]]) -> float:
    """The stored sessions' centre: the mean of each session's own, so that long sessions do not outweigh short ones.

    Args:
        aggregate: the aggregate of the metric.
        sessions: one or more, each with one value a round.

    Raises:
        MeasurementError: no session, an empty one, or a value that is not finite.
    """
    if not sessions:
        raise MeasurementError("the stored baseline has no session")
    return statistics.fmean(aggregate_values(aggregate, values) for values in sessions)


def check_finite(values: Sequence[float]) -> None:
    """There is a value and all are finite, or a MeasurementError that names the first that is not."""
    if not values:
        raise MeasurementError("there is no round to judge")
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise MeasurementError(f"value {index + 1} of {len(values)} is {value}, wanted a finite number")


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean, summed exactly so that the order of rounds does not matter."""
    return math.fsum(values) / len(values)


def sample_sd(values: Sequence[float]) -> float:
    """Sample standard deviation, ddof = 1; two values or more."""
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def _cv_pct(values: Sequence[float]) -> float | None:
    """Standard deviation over mean, percent; None for one value or a mean that is not positive."""
    if len(values) < 2 or mean(values) <= 0:
        return None
    return 100 * sample_sd(values) / mean(values)


def _percentile(ordered: Sequence[float], percent: float) -> float:
    """A percentile of sorted values by linear interpolation."""
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
