"""Gates become verdicts: three ways, and never a pass from what is missing, broken or too little.

- A limit gate passes when the whole interval is on the good side of its limit, fails when the whole of it is on the
  bad side, and is inconclusive between.
- A contention gate passes when no more rounds were contended than `limit * rounds` allow (the seed's own criterion,
  E.1 #7: with 5 rounds and 1 % that means none), where some were only at the last look, and fails when the rate is
  above the limit beyond doubt.
- A regression gate passes when a drop of `delta` is excluded, and fails when there is beyond doubt a drop and its
  estimate is `delta` or more (which includes that the whole interval is).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge.intervals import (
    CONFIDENCE_PCT,
    MOST_ROUNDS,
    Interval,
    alpha_of_look,
    first_rounds,
    interval,
    rate_interval,
    rounds_to_decide,
)
from pytest_llmperf.judge.metrics import Aggregate, Metric, metric_of, series
from pytest_llmperf.judge.quantiles import beta_quantile
from pytest_llmperf.judge.regression import drop_of
from pytest_llmperf.judge.stats import MIN_ROUNDS, centre, check_finite, grade
from pytest_llmperf.model import Bound, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.model import Gate, Measurement


def judge(gate: Gate, measurement: Measurement, *, looks: int, last: bool = True) -> Verdict:
    """Judge one gate by the rounds so far.

    Args:
        gate: resolved.
        measurement: one or more rounds.
        looks: how often the session may look at this gate, e.g. `max_rounds - min_rounds + 1`.
        last: whether no further look follows.

    Returns:
        A verdict; `invalid` where the metric of some round is undefined.

    Raises:
        UsageError: an unknown metric, or a limit or delta that is no finite number.
        ValueError: fewer than one look.

    Source: METRICS; seed E.1 #6 and #7, decision card.
    """
    _check_gate(gate)
    try:
        values = series(measurement, gate.metric)
    except MeasurementError as error:
        return _invalid(gate, len(measurement.rounds), error)
    return decide(gate, values, looks=looks, last=last)


def decide(gate: Gate, values: Sequence[float], *, looks: int, last: bool = True) -> Verdict:
    """Judge one gate by the values of its metric, one a round; what `judge` does once it has them.

    Raises:
        UsageError: an unknown metric, or a limit or delta that is no finite number.
        ValueError: fewer than one look.
    """
    metric = _check_gate(gate)
    alpha_of_look(looks)
    try:
        check_finite(values)
        outcome, reason, value, found = _decide(gate, metric, values, looks, last)
    except MeasurementError as error:
        return _invalid(gate, len(values), error)
    return Verdict(
        gate=gate,
        outcome=outcome,
        value=value,
        low=_finite(found.low if found else None),
        high=_finite(found.high if found else None),
        confidence_pct=CONFIDENCE_PCT,
        rounds=len(values),
        grade=grade(len(values)),
        reason=reason,
    )


def _decide(
    gate: Gate, metric: Metric, values: Sequence[float], looks: int, last: bool
) -> tuple[Outcome, str, float | None, Interval | None]:
    """Outcome, reason, centre and interval; MeasurementError where something is undefined."""
    short = len(values) < MIN_ROUNDS
    if metric.aggregate is Aggregate.RATE and set(values) - {0.0, 1.0}:
        raise MeasurementError(f"a rate counts rounds by 0 and 1, got values {sorted(set(values))}")
    if metric.aggregate is Aggregate.CV and len(values) < 2:
        value, found = None, None
    else:
        value, found = centre(metric.aggregate, values), interval(metric.aggregate, values, looks=looks)
        found = found and _within_definition(found, metric)
    if gate.delta is not None:
        # Also where the gate is decided already, so that a broken reference is never hidden.
        drop = _regression(gate, metric, values, looks)
    if gate.not_comparable:
        return Outcome.NOT_COMPARABLE, gate.not_comparable, value, found
    if short or found is None:
        reason = f"{_rounds(len(values))}, a verdict needs at least {MIN_ROUNDS}"
        return Outcome.INCONCLUSIVE, reason, value, found
    if gate.delta is not None:
        return (*drop, value, found)
    if metric.aggregate is Aggregate.RATE:
        return (*_rate(gate, values, looks, last), value, found)
    return (*_limit(gate, metric, values, found, looks), value, found)


def _within_definition(found: Interval, metric: Metric) -> Interval:
    """The interval without the values that the metric's definition excludes: below 0, balance above 100 %."""
    ceiling = math.inf if metric.ceiling is None else metric.ceiling
    return replace(found, low=max(found.low, 0.0), high=min(found.high, ceiling))


def _limit(gate: Gate, metric: Metric, values: Sequence[float], found: Interval, looks: int) -> tuple[Outcome, str]:
    """Interval against limit."""
    side, unit = ("minimum" if gate.bound is Bound.MIN else "maximum"), metric.unit
    text = f"the interval {_figure(found.low)} to {_figure(found.high)} {unit} ({found.method})"
    limit = f"the {side} {_figure(gate.limit)} {unit}"
    good = found.low >= gate.limit if gate.bound is Bound.MIN else found.high <= gate.limit
    bad = found.high < gate.limit if gate.bound is Bound.MIN else found.low > gate.limit
    if good:
        return Outcome.PASS, f"{text} keeps {limit}"
    if bad:
        return Outcome.FAIL, f"{text} is {'below' if gate.bound is Bound.MIN else 'above'} {limit}"
    needed = rounds_to_decide(metric.aggregate, values, gate.limit, looks=looks)
    return Outcome.INCONCLUSIVE, f"{text} holds {limit}; {_needed(needed)}"


def _rate(gate: Gate, values: Sequence[float], looks: int, last: bool) -> tuple[Outcome, str]:
    """Contended rounds against the share that the limit allows."""
    count, n, alpha = round(sum(values)), len(values), alpha_of_look(looks)
    text = f"{count} of {_rounds(n)} contended"
    if 0 < count <= _allowed(gate.limit, n) and not last:
        # A pass at the first moment when the count allows it would be a pass by luck.
        return (
            Outcome.INCONCLUSIVE,
            f"{text}, as many as the maximum {100 * gate.limit:g} % allows; more rounds will tell",
        )
    if count <= _allowed(gate.limit, n):
        excluded_pct = 100 * beta_quantile(1 - alpha, count + 1, n - count) if count < n else 100.0
        return Outcome.PASS, f"{text}; rates above {excluded_pct:.0f} % are excluded (one-sided)"
    if rate_interval(count, n, alpha).low > gate.limit:
        return Outcome.FAIL, f"{text}; beyond doubt more than the maximum {100 * gate.limit:g} %"
    needed = first_rounds(lambda rounds: rate_interval(count * rounds // n, rounds, alpha).low > gate.limit, n + 1)
    return Outcome.INCONCLUSIVE, f"{text}, the maximum is {100 * gate.limit:g} %; {_needed(needed)}"


def _regression(gate: Gate, metric: Metric, values: Sequence[float], looks: int) -> tuple[Outcome, str]:
    """Drop against delta."""
    if metric.aggregate not in (Aggregate.MEAN, Aggregate.MEDIAN):
        raise UsageError(f"gate {gate.marker}: {metric.name} has no regression gate, it has a limit gate")
    if not gate.reference:
        raise MeasurementError("the stored baseline has no session")
    drop = drop_of(
        aggregate=metric.aggregate,
        bound=gate.bound,
        in_points=metric.in_points,
        base=gate.limit,
        sessions=gate.reference,
        values=values,
        looks=looks,
    )
    if drop is None:
        return Outcome.INCONCLUSIVE, "the stored sessions have one round each: save one of at least 3 rounds"
    delta = gate.delta if gate.delta is not None else math.nan
    text = (
        f"worse by {drop.estimate:.1f} {drop.unit} (interval {drop.low:.1f} to {drop.high:.1f}; {drop.spread}), "
        f"{delta:g} {drop.unit} matter"
    )
    if drop.high < delta:
        return Outcome.PASS, text
    if drop.low > 0 and drop.estimate >= delta:
        return Outcome.FAIL, text
    return Outcome.INCONCLUSIVE, f"{text}; more rounds, or more stored sessions, would tell"


def _allowed(limit: float, rounds: int) -> int:
    """How many rounds of so many a rate may hold; 0.29 of 100 is 29, whatever floats say."""
    return math.floor(limit * rounds + 1e-9)


def _check_gate(gate: Gate) -> Metric:
    """The gate's metric, when its numbers are numbers."""
    metric = metric_of(gate.metric)
    if not math.isfinite(gate.limit):
        raise UsageError(f"gate {gate.marker} ({gate.source}): its limit is {gate.limit}, wanted a finite number")
    if gate.delta is not None and not (math.isfinite(gate.delta) and gate.delta > 0):
        raise UsageError(f"gate {gate.marker} ({gate.source}): its delta is {gate.delta}, wanted a number above 0")
    return metric


def _invalid(gate: Gate, rounds: int, error: MeasurementError) -> Verdict:
    """The verdict of a measurement that failed."""
    return Verdict(
        gate=gate,
        outcome=Outcome.INVALID,
        value=None,
        low=None,
        high=None,
        confidence_pct=CONFIDENCE_PCT,
        rounds=rounds,
        grade=grade(rounds),
        reason=str(error.args[0]),
    )


def _needed(rounds: int | None) -> str:
    """The estimate of what would decide, in words."""
    if rounds is None:
        return f"more than {MOST_ROUNDS} rounds would be needed: the value is too near the limit"
    return f"about {rounds} rounds would be needed"


def _finite(end: float | None) -> float | None:
    """An end of an interval; None where there is no end, which no report could write down."""
    return end if end is not None and math.isfinite(end) else None


def _rounds(n: int) -> str:
    """`1 round`, `5 rounds`."""
    return f"{n} round{'' if n == 1 else 's'}"


def _figure(value: float) -> str:
    """A figure for a sentence."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
