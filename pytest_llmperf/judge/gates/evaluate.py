"""Gates become verdicts: three ways, and never a pass from what is missing, broken or too little.

- A limit gate passes when the whole interval is on the good side of its limit, fails when the whole of it is on the
  bad side, and is inconclusive between.
- A contention gate passes when no more rounds were contended than `limit * rounds` allow (the seed's own criterion,
  E.1 #7: with 5 rounds and 1 % that means none), where some were only at the last look, and fails when the rate is
  above the limit beyond doubt.
- A gate on the largest round (memory, temperature) passes when no round was beyond the limit, and fails when one was.
- A regression gate fails when no drop at all is excluded, and passes when a drop of `delta` is (see
  `judge.regression.decision_rule`); between none and delta either answer is right.

What a verdict is worth stands beside it: error, effect size, power, what would be needed (see `docs/verdicts.md`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge.gates.evidence_grade import grade
from pytest_llmperf.judge.gates.power import strength
from pytest_llmperf.judge.gates.reasons import drop_words, figure_words, limit_words, needed_words, rounds_words
from pytest_llmperf.judge.metrics.censored_ttft import upper_bound_words
from pytest_llmperf.judge.metrics.series import Aggregate, Metric, metric_of, series
from pytest_llmperf.judge.regression.decision_rule import ChangeEstimate, Look
from pytest_llmperf.judge.regression.effect_scale import PERCENT_OF_ZERO
from pytest_llmperf.judge.regression.paired_rounds import change_between_pairs
from pytest_llmperf.judge.regression.stored_sessions import (
    SESSIONS_FOR_SPREAD,
    StoredChange,
    change_from_sessions,
)
from pytest_llmperf.judge.stats.autocorrelation import autocorrelation, outliers
from pytest_llmperf.judge.stats.confidence_intervals import (
    CONFIDENCE_PCT,
    Interval,
    alpha_of_look,
    first_rounds,
    interval,
    rate_interval,
    rounds_to_decide,
)
from pytest_llmperf.judge.stats.distributions import beta_quantile
from pytest_llmperf.judge.stats.error_spending import check_counts
from pytest_llmperf.judge.stats.resolution import above, nearly, step_of
from pytest_llmperf.judge.stats.summary import MIN_ROUNDS, aggregate_values, check_finite, mean, reference_centre
from pytest_llmperf.model import Bound, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.model import Gate, Measurement


def judge(gate: Gate, measurement: Measurement, *, looks: int, last: bool = True, gates: int = 1) -> Verdict:
    """Judge one gate by the rounds so far.

    Args:
        gate: resolved.
        measurement: one or more rounds.
        looks: how often the session may look at this gate, e.g. `max_rounds - min_rounds + 1`.
        last: whether no further look follows.
        gates: of the run, which share the error of `fail`.

    Returns:
        A verdict; `invalid` where the metric of some round is undefined.

    Raises:
        UsageError: an unknown metric, or a limit or delta that is no finite number.
        ValueError: fewer than one look or gate.

    Source: METRICS; seed E.1 #6 and #7, decision card.
    """
    metric = _check_gate(gate)
    try:
        values = series(measurement, gate.metric)
    except MeasurementError as error:
        verdict = invalid(gate, len(measurement.rounds), str(error.args[0]))
        if gate.not_comparable and metric.aggregate is Aggregate.MAX:  # a GPU's limit, where there is no GPU
            return replace(verdict, outcome=Outcome.NOT_COMPARABLE, reason=gate.not_comparable)
        return verdict
    verdict = decide(gate, values, looks=looks, last=last, gates=gates)
    words = upper_bound_words(verdict, measurement)
    return replace(verdict, reason=f"{verdict.reason}; {words}") if words else verdict


def decide(
    gate: Gate,
    values: Sequence[float],
    *,
    looks: int,
    last: bool = True,
    gates: int = 1,
    incumbent: Sequence[float] | None = None,
) -> Verdict:
    """Judge one gate by the values of its metric, one a round; what `judge` does once it has them.

    With the rounds of an `incumbent` that took turns with these, a regression gate judges by the differences of pairs
    (see `judge.regression.paired_rounds`) and looks at no stored session.

    Raises:
        UsageError: an unknown metric, or a limit or delta that is no finite number.
        ValueError: fewer than one look or gate.
    """
    metric, look = _check_gate(gate), Look(looks=looks, last=last, gates=gates)
    check_counts(looks, gates)
    try:
        check_finite(values)
        return _decide(gate, metric, values, look, incumbent)
    except MeasurementError as error:
        return invalid(gate, len(values), str(error.args[0]))


def invalid(gate: Gate, rounds: int, reason: str) -> Verdict:
    """The verdict of a measurement that failed, after so many rounds."""
    return Verdict(
        gate=gate,
        outcome=Outcome.INVALID,
        value=None,
        low=None,
        high=None,
        confidence_pct=CONFIDENCE_PCT,
        rounds=rounds,
        grade=grade(rounds),
        reason=reason,
    )


def kept(before: Verdict, now: Verdict) -> Verdict:
    """The verdict of a gate after another look, which other gates of the test have asked for.

    A regression gate keeps its first decision, for its errors are those of stopping there; only a measurement that has
    become invalid undoes it. A limit gate takes the later look: its interval holds over all looks at once.
    """
    decided = before.gate.delta is not None and before.outcome in (Outcome.PASS, Outcome.FAIL)
    return before if decided and now.outcome is not Outcome.INVALID else now


def rounds_may_decide(verdict: Verdict) -> bool:
    """Whether more rounds could decide a gate; not where too few stored sessions leave so much open that none would.

    Stopping there costs no error: the verdict stays inconclusive.
    """
    few = 0 < len(verdict.gate.reference) < SESSIONS_FOR_SPREAD and verdict.rounds >= MIN_ROUNDS
    return verdict.outcome is Outcome.INCONCLUSIVE and not (few and verdict.rounds_needed is None)


def _decide(
    gate: Gate, metric: Metric, values: Sequence[float], look: Look, incumbent: Sequence[float] | None
) -> Verdict:
    """The verdict; MeasurementError where something is undefined."""
    if metric.aggregate is Aggregate.RATE and set(values) - {0.0, 1.0}:
        raise MeasurementError(f"a rate counts rounds by 0 and 1, got values {sorted(set(values))}")
    if metric.aggregate is Aggregate.CV and len(values) < 2:
        value, found = None, None
    else:
        value = aggregate_values(metric.aggregate, values)
        found = _interval(gate, metric, values, look.looks)
    judged = _Judged(outcome=Outcome.INCONCLUSIVE, reason="")
    if (delta := gate.delta) is not None:
        gate = _as_compared(gate, metric, len(values))
        # Also where the gate is decided already, so that a broken reference is never hidden.
        judged = _regression(gate, metric, values, look, delta=delta, incumbent=incumbent)
    if gate.not_comparable:
        judged = _Judged(outcome=Outcome.NOT_COMPARABLE, reason=gate.not_comparable)
    elif len(values) >= MIN_ROUNDS and metric.aggregate is Aggregate.MAX:
        judged = _peak(gate, metric, values)
    elif len(values) < MIN_ROUNDS or found is None:
        reason = f"{rounds_words(len(values))}, a verdict needs at least {MIN_ROUNDS}"
        judged = replace(judged, outcome=Outcome.INCONCLUSIVE, reason=reason)
    elif gate.delta is None and metric.aggregate is Aggregate.RATE:
        judged = _rate(gate, values, look)
    elif gate.delta is None:
        judged = _limit(gate, metric, values, look, found)
    return Verdict(
        gate=gate,
        value=value,
        low=_finite(found.low if found else None),
        high=_finite(found.high if found else None),
        confidence_pct=CONFIDENCE_PCT,
        rounds=len(values),
        grade=grade(len(values)),
        gates=look.gates,
        worse_by=_finite(judged.worse_by),
        autocorrelation=None if metric.aggregate is Aggregate.RATE else autocorrelation(values),
        outliers=() if metric.aggregate is Aggregate.RATE else outliers(values),
        outcome=judged.outcome,
        reason=judged.reason,
        error_of_fail=judged.error_of_fail,
        error_of_pass=judged.error_of_pass,
        effect_size=_finite(judged.effect_size),
        power_pct=judged.power_pct,
        rounds_needed=judged.rounds_needed,
        sessions_needed=judged.sessions_needed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What a kind of gate came to; the fields are those of the verdict."""

    outcome: Outcome
    reason: str
    worse_by: float | None = None
    error_of_fail: float | None = None
    error_of_pass: float | None = None
    effect_size: float | None = None
    power_pct: float | None = None
    rounds_needed: int | None = None
    sessions_needed: int | None = None


def _interval(gate: Gate, metric: Metric, values: Sequence[float], looks: int, gates: int = 1) -> Interval | None:
    """The interval of the metric's centre, without what the definition excludes: below 0, balance above 100 %.

    Values that repeat are known to half a step only (see `resolution`). Values that are all equal are taken as they are
    given, and those that equal the limit keep it.
    """
    found = interval(metric.aggregate, values, looks=looks, gates=gates, ceiling=metric.ceiling)
    if found is None or metric.aggregate not in (Aggregate.MEAN, Aggregate.MEDIAN):
        return found and _within(metric, found.low, found.high, found.method)
    if all(nearly(value, gate.limit) for value in values):
        return replace(found, low=gate.limit, high=gate.limit)
    half = 0.0 if all(value == values[0] for value in values) else step_of(values) / 2
    return _within(metric, found.low - half, found.high + half, found.method)


def _within(metric: Metric, low: float, high: float, method: str) -> Interval:
    """The part of an interval that the metric's definition allows."""
    ceiling = math.inf if metric.ceiling is None else metric.ceiling
    return Interval(low=max(low, 0.0), high=min(high, ceiling), method=method)


def _limit(gate: Gate, metric: Metric, values: Sequence[float], look: Look, found: Interval) -> _Judged:
    """Interval against limit; with several gates, `fail` asks for a wider one."""
    unit, least = metric.unit, gate.bound is Bound.MIN
    low, high = (figure_words(end, gate.limit) for end in (found.low, found.high))
    text = f"the interval {low} to {high} {unit} ({found.method})"
    limit = f"the {gate.bound.word} {limit_words(gate.limit)} {unit}"
    shared = found if look.gates == 1 else _interval(gate, metric, values, look.looks, look.gates) or found
    effect, power = strength(metric, values, gate, shared)
    judged = _Judged(outcome=Outcome.INCONCLUSIVE, reason="", effect_size=effect, power_pct=power)
    if found.low >= gate.limit if least else found.high <= gate.limit:
        return replace(judged, outcome=Outcome.PASS, reason=f"{text} keeps {limit}")
    if shared.high < gate.limit if least else shared.low > gate.limit:
        return replace(judged, outcome=Outcome.FAIL, reason=f"{text} is {'below' if least else 'above'} {limit}")
    needed = rounds_to_decide(metric.aggregate, values, gate.limit, looks=look.looks, gates=look.gates)
    beyond = found.high < gate.limit if least else found.low > gate.limit
    against = f"is beyond {limit}, but not for one of {look.gates} gates" if beyond else f"holds {limit}"
    return replace(judged, reason=f"{text} {against}; {needed_words(needed)}", rounds_needed=needed)


def _rate(gate: Gate, values: Sequence[float], look: Look) -> _Judged:
    """Contended rounds against the share that the limit allows."""
    count, n, alpha = round(sum(values)), len(values), alpha_of_look(look.looks)
    shared = alpha_of_look(look.looks, look.gates)
    text, most = f"{count} of {rounds_words(n)} contended", f"the maximum {100 * gate.limit:g} %"
    if 0 < count <= _allowed(gate.limit, n) and not look.last:
        # A pass at the first moment when the count allows it would be a pass by luck.
        return _Judged(outcome=Outcome.INCONCLUSIVE, reason=f"{text}, as many as {most} allows; more rounds will tell")
    if count <= _allowed(gate.limit, n):
        excluded_pct = 100 * beta_quantile(1 - alpha, count + 1, n - count) if count < n else 100.0
        return _Judged(
            outcome=Outcome.PASS, reason=f"{text}; rates above {excluded_pct:.0f} % are excluded (one-sided)"
        )
    if rate_interval(count, n, shared).low > gate.limit:
        return _Judged(outcome=Outcome.FAIL, reason=f"{text}; beyond doubt more than {most}")
    needed = first_rounds(lambda rounds: rate_interval(count * rounds // n, rounds, shared).low > gate.limit, n + 1)
    reason = f"{text}, the maximum is {100 * gate.limit:g} %; {needed_words(needed)}"
    return _Judged(outcome=Outcome.INCONCLUSIVE, reason=reason, rounds_needed=needed)


def _peak(gate: Gate, metric: Metric, values: Sequence[float]) -> _Judged:
    """The largest round against the limit: it was beyond it, or not; nothing is concluded for other rounds."""
    value = max(values)
    over = sum(above(value, gate.limit) for value in values)
    if over:
        text = f"{over} of {rounds_words(len(values))} above the maximum {limit_words(gate.limit)} {metric.unit}"
        return _Judged(outcome=Outcome.FAIL, reason=text)
    largest = f"the largest of {rounds_words(len(values))}, {figure_words(value, gate.limit)} {metric.unit}"
    reason = f"{largest}, keeps the maximum {limit_words(gate.limit)} {metric.unit}"
    return _Judged(outcome=Outcome.PASS, reason=reason)


def _regression(
    gate: Gate,
    metric: Metric,
    values: Sequence[float],
    look: Look,
    *,
    delta: float,
    incumbent: Sequence[float] | None,
) -> _Judged:
    """Drop against delta, from stored sessions or from an incumbent that took turns."""
    if metric.aggregate not in (Aggregate.MEAN, Aggregate.MEDIAN):
        raise UsageError(f"gate {gate.marker}: {metric.name} has no regression gate, it has a limit gate")
    if incumbent is not None:
        paired = change_between_pairs(
            bound=gate.bound,
            in_points=metric.in_points,
            delta=delta,
            incumbent=incumbent,
            candidate=values,
            look=look,
        )
        # One pair says nothing, and says so as too few rounds.
        if paired is None:
            return _Judged(outcome=Outcome.INCONCLUSIVE, reason="")
        words = drop_words(paired, delta, pairs=len(values))
        name = f"incumbent {gate.incumbent}" if gate.incumbent else "the incumbent"
        judged = replace(_of_change(paired, delta), reason=f"against {name}: {words}")
        return _of_zero(judged, metric, mean(incumbent))
    if not gate.reference:
        raise MeasurementError("the stored baseline has no session")
    found = change_from_sessions(
        aggregate=metric.aggregate,
        bound=gate.bound,
        in_points=metric.in_points,
        base=_base(gate, metric),
        delta=delta,
        sessions=gate.reference,
        values=values,
        look=look,
    )
    if found is None:
        few = "the stored sessions have one round each: save one of at least 3 rounds"
        return _Judged(outcome=Outcome.INCONCLUSIVE, reason=few)
    return _of_zero(_of_change(found.change, delta, found), metric, gate.limit)


def _base(gate: Gate, metric: Metric) -> float:
    """What changes are percentages of: the stored centre, unless it is 0."""
    if gate.limit == 0 == reference_centre(metric.aggregate, gate.reference):
        return PERCENT_OF_ZERO
    return gate.limit


def _of_zero(judged: _Judged, metric: Metric, base: float) -> _Judged:
    """Says what a change is a percentage of, if that is not the base."""
    if metric.in_points or base:
        return judged
    return replace(judged, reason=f"{judged.reason}; it was 0: percent of {PERCENT_OF_ZERO:g} {metric.unit}")


def _as_compared(gate: Gate, metric: Metric, rounds: int) -> Gate:
    """The gate with the centre that so many new rounds are compared with: that of the first as many of each session."""
    if not any(len(stored) > rounds for stored in gate.reference):
        return gate
    return replace(gate, limit=reference_centre(metric.aggregate, [stored[:rounds] for stored in gate.reference]))


def _of_change(change: ChangeEstimate, delta: float, stored: StoredChange | None = None) -> _Judged:
    """A change as what a verdict holds."""
    return _Judged(
        outcome=change.outcome,
        reason=drop_words(change, delta, stored),
        worse_by=change.estimate,
        error_of_fail=change.error_of_fail,
        error_of_pass=change.error_of_pass,
        effect_size=None if change.effect_size is None else -change.effect_size,
        power_pct=change.power_pct,
        rounds_needed=change.rounds_needed,
        sessions_needed=stored.sessions_needed if stored else None,
    )


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


def _finite(end: float | None) -> float | None:
    """An end of an interval; None where there is no end, which no report could write down."""
    return end if end is not None and math.isfinite(end) else None
