"""Confidence intervals that are valid over all looks of a session.

A session looks at its gates after each round, from the minimum to the maximum number of rounds. The 5 % error
probability of a 95 % interval is shared by these looks, so that frequent looks cannot turn luck into a verdict. Most of
it is spent at the last look. Looks at growing data are correlated, so the earlier looks get more than an equal part of
the rest (`make verdicts` shows that the total error probability is kept).

Autocorrelation widens an interval (`judge.stats.autocorrelation`). So does skewness: with a ceiling (efficiency), a
tail of low rounds, or positive values with an upper tail, Student's t interval is too narrow (see `mean_ends`).
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.autocorrelation import variance_inflation
from pytest_llmperf.judge.stats.distributions import beta_quantile, chi2_quantile, median_order, t_quantile
from pytest_llmperf.judge.stats.error_spending import FINAL_LOOK_SHARE, check_counts
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.resolution import step_of
from pytest_llmperf.judge.stats.roots import first_rounds
from pytest_llmperf.judge.stats.row_statistics import row_means, row_variances
from pytest_llmperf.judge.stats.skewed_mean import bounded_ends, end_by_logarithms, end_with_tail_below, sd_freedom
from pytest_llmperf.judge.stats.summary import (
    UNKNOWN_SHAPE,
    Aggregate,
    Shape,
    aggregate_values,
    check_finite,
    mean,
    sample_sd,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llmperf.judge.stats.row_statistics import Array

CONFIDENCE_PCT = 95.0
"""Confidence of an interval, two-sided, over all looks of a session together."""

MEDIAN_FACTOR = math.sqrt(math.pi / 2)
"""Standard error of a median over that of a mean, for normal values."""


MOST_BOUNDED = 200
"""With more rounds than this, a ceiling needs no special treatment: the mean is nearly normal."""

OF_SD = 0.45
"""The share of the error for each end of the standard deviation in the interval of a CV; the mean has the rest."""

NOTABLE = 0.02
"""An end that is farther than Student's t end by more than this share is mentioned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval of the rounds' centre.

    Attributes:
        low, high: the ends in the metric's unit; may be infinite.
        method: how it was computed, in words.
    """

    low: float
    high: float
    method: str


def alpha_of_look(looks: int, gates: int = 1, *, last: bool = True) -> float:
    """The two-sided error that one look may make.

    Most of it is left for the last look, as in a regression gate. The power of `looks` is what Student's t needs for 5
    to 20 rounds, for 3 to 40, and for anything between; far out in the tail, where several gates share the error, it
    needs all of it.

    Raises:
        ValueError: fewer than one look or gate.
    """
    check_counts(looks, gates)
    whole = (1 - CONFIDENCE_PCT / 100) / gates
    if looks == 1:
        return whole
    if last:
        return FINAL_LOOK_SHARE * whole
    return (1 - FINAL_LOOK_SHARE) * whole / math.pow(looks - 1, 0.7 if gates == 1 else 1.0)


def interval(
    aggregate: Aggregate,
    values: Sequence[float],
    *,
    looks: int,
    gates: int = 1,
    last: bool = True,
    shape: Shape = UNKNOWN_SHAPE,
) -> Interval | None:
    """The interval of the centre, at CONFIDENCE_PCT over all looks together.

    - mean: Student's t, and wider than that for skewed rounds, see `mean_ends`; `method` says what made it wider.
    - median: order statistics, if there are enough rounds for the confidence (10 for 16 looks); otherwise the hull
      of [min, max] and Student's t on logarithms (a median of positive values spread evenly on a log scale),
      and `method` says which confidence [min, max] has by itself.
    - rate: Clopper and Pearson.
    - cv: chi-square for the standard deviation, with the degrees of freedom of `sd_freedom`, and Student's t for the
      mean, which has a tenth of the error; the worst of both ends combined. Infinite above if the mean may be 0.

    Args:
        aggregate: mean, median, rate, CV or maximum.
        values: one a round, finite; 0 or 1 for a rate.
        looks: how often the session looks, 1 or more.
        gates: number of gates that share the error, 1 or more.
        last: whether this is the session's last look.
        shape: what is known of the rounds of a mean.

    Returns:
        None for fewer than 2 rounds (a rate needs 1), and for the maximum. Autocorrelation widens all but a rate's.

    Raises:
        MeasurementError: no value, or one that is not finite.
    """
    check_finite(values)
    alpha = alpha_of_look(looks, gates, last=last)
    if aggregate is Aggregate.RATE:
        return rate_interval(round(sum(values)), len(values), alpha)
    if len(values) < 2 or aggregate is Aggregate.MAX:
        return None
    factor = math.sqrt(variance_inflation(values))
    if aggregate is Aggregate.MEAN:
        rows = np.asarray(values, dtype=float)
        low, high = mean_ends(rows, alpha, shape)
        method = _mean_method(rows, alpha, (float(low), float(high)), shape)
        return Interval(low=float(low), high=float(high), method=_method(method, factor))
    plain = (median_interval if aggregate is Aggregate.MEDIAN else cv_interval)(values, alpha)
    middle = aggregate_values(aggregate, values)
    if factor == 1:
        return plain
    return Interval(
        low=middle - factor * (middle - plain.low),
        high=middle + factor * (plain.high - middle),
        method=_method(plain.method, factor),
    )


def _method(method: str, factor: float) -> str:
    """A method, and how much wider autocorrelation makes the interval."""
    return method if factor == 1 else f"{method}; {factor:.1f} times as wide, for neighbouring rounds are alike"


def _mean_method(values: Array, alpha: float, ends: tuple[float, float], shape: Shape) -> str:
    """Student's t, and what has made the interval of a mean notably wider than that."""
    low, high = student_ends(values, alpha)
    seen = variance_inflation(values) ** 0.5 * (1 + NOTABLE) * (high - low) / 2
    inside = shape.ceiling is not None and (values.min() >= 0 if shape.tail_above else values.max() <= shape.ceiling)
    bounded = inside and values.size <= MOST_BOUNDED
    more = ["fourth roots"] if bounded else []
    middle = float(row_means(values))
    if shape.tail_below and middle - ends[0] > seen:
        more.append(f"a tail of low rounds that {values.size} may not show")
    if shape.tail_above and ends[1] - middle > seen:
        more.append(f"a tail of high rounds that {values.size} may not show")
    if shape.ceiling is None and ends[1] - middle > seen:
        more.append("logarithms")
    return " and ".join(["Student t", *more]) if len(more) < 2 else f"Student t, {more[0]} and {more[1]}"


def mean_ends(values: Array, alpha: float, shape: Shape) -> tuple[Array, Array]:
    """Both ends of the interval of the mean of each row, shape (..., rounds), wider if neighbouring rounds are alike.

    Each end is the outermost of: Student's t; with a ceiling that no value of the row exceeds, `bounded_ends` (of at
    most MOST_BOUNDED rounds); with a tail below, `end_with_tail_below` for the skewness that the ceiling does not
    explain; without a ceiling, `end_by_logarithms` if all values of the row are positive and it is notably farther.
    With a tail above, the ends are computed for the complements, ceiling minus value, and mirrored.
    """
    if shape.tail_above and shape.ceiling is not None:
        low, high = mean_ends(shape.ceiling - values, alpha, Shape(ceiling=shape.ceiling, tail_below=True))
        return shape.ceiling - high, shape.ceiling - low
    middle, (low, high) = row_means(values), student_ends(values, alpha)
    explained, ceiling = np.zeros_like(middle), shape.ceiling
    if ceiling is None:
        positive = values.min(axis=-1) > 0
        by_logs = end_by_logarithms(np.where(np.expand_dims(positive, -1), values, 1.0), alpha)
        notably = by_logs - middle > (1 + NOTABLE) * (high - middle)
        high = np.where(positive & notably, by_logs, high)
    elif values.shape[-1] <= MOST_BOUNDED and (below := (values <= ceiling).all(axis=-1)).any():
        bounded_low, bounded_high = bounded_ends(np.minimum(values, ceiling), alpha, ceiling)
        low = np.where(below, np.minimum(low, bounded_low), low)
        high = np.where(below, np.maximum(high, bounded_high), high)
        # The skewness of a gamma distribution of these distances to the ceiling.
        distance = np.where(ceiling > middle, ceiling - middle, 1.0)
        explained = np.where(below & (ceiling > middle), 2 * np.sqrt(row_variances(values)) / distance, 0.0)
    if shape.tail_below:
        low = np.minimum(low, end_with_tail_below(values, alpha, explained))
    factor = np.sqrt(variance_inflation(values))
    low, high = (np.where(factor > 1, middle + factor * (end - middle), end) for end in (low, high))
    return low, high


def student_ends(values: Array, alpha: float) -> tuple[Array, Array]:
    """Both ends of Student's t interval of the mean of each row, shape (..., rounds); two values or more a row."""
    n, middle = values.shape[-1], row_means(values)
    half = t_quantile(1 - alpha / 2, n - 1) * np.sqrt(row_variances(values) / n)
    return middle - half, middle + half


def mean_interval(values: Sequence[float], alpha: float) -> Interval:
    """Student's t interval of the mean; two values or more."""
    low, high = student_ends(np.asarray(values, dtype=float), alpha)
    return Interval(low=float(low), high=float(high), method="Student t")


def median_interval(values: Sequence[float], alpha: float) -> Interval:
    """The interval of the median by order statistics, or what `interval` says for too few values."""
    n, ordered = len(values), sorted(values)
    left_out = median_order(n, alpha) - 1
    if left_out >= 0:
        return Interval(low=ordered[left_out], high=ordered[n - 1 - left_out], method="order statistics")
    if ordered[0] > 0:
        logs = mean_interval([math.log(value) for value in values], alpha)
        # exp overflows above 709: an upper end that far away is no end at all.
        low, high = math.exp(logs.low), math.exp(logs.high) if logs.high < 700 else math.inf
    else:
        plain = mean_interval(values, alpha)
        low, high = plain.low, plain.high
    alone_pct = 100 * (1 - 2 * 0.5**n)
    return Interval(
        low=min(low, ordered[0]),
        high=max(high, ordered[-1]),
        method=f"[min, max] widened by Student t; by itself it has {alone_pct:.1f} %",
    )


def rate_interval(count: int, n: int, alpha: float) -> Interval:
    """Clopper and Pearson's interval of a rate: `count` of `n`, n of 1 or more."""
    low = beta_quantile(alpha / 2, count, n - count + 1) if count else 0.0
    high = beta_quantile(1 - alpha / 2, count + 1, n - count) if count < n else 1.0
    return Interval(low=low, high=high, method="Clopper-Pearson")


def cv_interval(values: Sequence[float], alpha: float) -> Interval:
    """The interval of the CV, percent; two values or more."""
    sd, freedom = sample_sd(values), sd_freedom(values, len(values))
    mean = mean_interval(values, 2 * alpha * (0.5 - OF_SD))
    low, high = (sd * math.sqrt(freedom / chi2_quantile(p, freedom)) for p in (1 - OF_SD * alpha, OF_SD * alpha))
    return Interval(
        low=100 * low / mean.high if mean.high > 0 else 0.0,
        high=100 * high / mean.low if mean.low > 0 else math.inf,
        method="chi-square, allowing for tails that few rounds do not show, and Student t",
    )


def t_half_width(sd: float, n: int, alpha: float) -> float:
    """Half the width of Student's t interval of a mean."""
    return t_quantile(1 - alpha / 2, n - 1) * sd / math.sqrt(n)


def rounds_to_decide(
    aggregate: Aggregate,
    values: Sequence[float],
    limit: float,
    *,
    looks: int,
    gates: int = 1,
    known: Interval,
    charge: Callable[[float], float] | None = None,
) -> int | None:
    """About how many rounds would put the limit outside the interval, if centre, spread and resolution stayed.

    Args:
        aggregate: the aggregate of the metric.
        values: the values of the rounds so far.
        limit: the limit of the gate.
        looks: maximum number of looks at the data.
        gates: number of gates that share the error.
        known: the interval of these values; as far as it is wider than Student's, it stays so with more rounds.
        charge: function from half the width to half the width with what more rounds cannot reduce; None: nothing.

    Returns:
        The number, or None if it is above MOST_ROUNDS (the centre is too near the limit).
    """
    alpha, n, sd, middle = alpha_of_look(looks, gates), len(values), sample_sd(values), mean(values)
    if aggregate is Aggregate.CV:
        cv_pct = aggregate_values(aggregate, values)

        def decided(rounds: int) -> bool:
            # The mean's own error hardly matters beside that of the standard deviation.
            p, freedom = OF_SD * alpha if cv_pct < limit else 1 - OF_SD * alpha, sd_freedom(values, rounds)
            bound_pct = cv_pct * math.sqrt(freedom / chi2_quantile(p, freedom))
            return (bound_pct < limit) if cv_pct < limit else (bound_pct > limit)
    else:
        median = aggregate is Aggregate.MEDIAN
        centre = statistics.median(values) if median else middle
        gap = abs(centre - limit) - step_of(values) / 2
        wider = math.sqrt(variance_inflation(values)) * (MEDIAN_FACTOR if median else 1.0)
        side = centre - known.low if centre > limit else known.high - centre
        plain = t_half_width(sd, n, alpha)
        if math.isfinite(side) and plain > 0:
            wider = max(wider, side / plain)

        def decided(rounds: int) -> bool:
            half = wider * t_half_width(sd, rounds, alpha)
            return half < gap and (charge is None or charge(half) < gap)

    return first_rounds(decided, n + 1)
