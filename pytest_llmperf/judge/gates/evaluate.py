"""Gates become verdicts: three ways, and never a pass from what is missing, broken or too little.

- A limit gate passes if the whole interval is on the good side of its limit, fails if the whole interval is on the
  bad side, and is inconclusive between.
- A contention gate passes if no more rounds were contended than `limit * rounds` allow (the report's own criterion,
  E.1 #7: with 5 rounds and 1 % that means none; if there were some, only at the last look), and fails if the rate is
  significantly above the limit.
- A gate on the largest round (memory, temperature) passes if no round was beyond the limit, and fails if one was.
- A gate on a percentile over requests, or on goodput, does the same as a limit gate with the share of bad requests
  (see `judge.gates.requests.request_gates`).
- A regression gate fails if no change at all is excluded, and passes if a change of `delta` is (see
  `judge.regression.decision_rule`); between none and delta either answer is right.

Each verdict says how strong its evidence is: error, effect size, power, what would be needed (see `docs/verdicts.md`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge.clock_bounds import clock_error, with_clock_error
from pytest_llmperf.judge.gates.change_verdicts import as_compared, judge_change
from pytest_llmperf.judge.gates.evidence_grade import grade
from pytest_llmperf.judge.gates.limit_verdicts import interval_of, limit_rule, limit_verdict
from pytest_llmperf.judge.gates.reasons import rounds_words
from pytest_llmperf.judge.gates.requests.request_gates import judge_requests
from pytest_llmperf.judge.gates.robust.betting_gates import reason_of
from pytest_llmperf.judge.metrics.censored_ttft import upper_bound_words
from pytest_llmperf.judge.metrics.series import Aggregate, Metric, metric_of, series
from pytest_llmperf.judge.regression.decision_rule import Look
from pytest_llmperf.judge.regression.stored_sessions import SESSIONS_FOR_SPREAD
from pytest_llmperf.judge.stats.autocorrelation import autocorrelation, outliers
from pytest_llmperf.judge.stats.confidence_intervals import CONFIDENCE_PCT
from pytest_llmperf.judge.stats.error_spending import check_counts
from pytest_llmperf.judge.stats.summary import MIN_ROUNDS, OVER_REQUESTS, aggregate_values, check_finite
from pytest_llmperf.model import Outcome, Verdict

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
        gates: the number of gates of the run, which share the error of `fail`.

    Returns:
        A verdict; `invalid` if the metric of some round is undefined.

    Raises:
        UsageError: an unknown metric, or a limit or delta that is no finite number.
        ValueError: fewer than one look or gate.

    Source: report, E.1 #6 and #7, decision card.
    """
    metric = _check_gate(gate)
    try:
        if metric.aggregate in OVER_REQUESTS:
            check_counts(looks, gates)
            return judge_requests(gate, measurement, Look(looks=looks, last=last, gates=gates))
        values = series(measurement, gate.metric)
    except MeasurementError as error:
        verdict = invalid(gate, len(measurement.rounds), str(error.args[0]))
        if gate.not_comparable and metric.aggregate is Aggregate.MAX:  # a GPU's limit without a GPU
            return replace(verdict, outcome=Outcome.NOT_COMPARABLE, reason=gate.not_comparable)
        return verdict
    verdict = with_clock_error(
        lambda possible: judge_values(gate, possible, looks=looks, last=last, gates=gates),
        gate,
        values,
        clock_error(measurement, gate.metric),
    )
    words = upper_bound_words(verdict, measurement)
    return replace(verdict, reason=f"{verdict.reason}; {words}") if words else verdict


def judge_values(
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
    _check_gate(gate)
    look = Look(looks=looks, last=last, gates=gates)
    check_counts(looks, gates)
    try:
        check_finite(values)
        return _decide(gate, values, look, incumbent)
    except MeasurementError as error:
        return invalid(gate, len(values), str(error.args[0]))


def invalid(gate: Gate, rounds: int, reason: str) -> Verdict:
    """The verdict of a measurement that failed, after this many rounds."""
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


def merge_looks(before: Verdict, now: Verdict) -> Verdict:
    """The verdict of a gate after a further look that other gates of the test required.

    A regression gate keeps its first decision, because its error rates assume that it stops there; only a measurement
    that has become invalid undoes it. A limit gate takes the later look: its interval is valid over all looks at once.
    """
    decided = before.gate.delta is not None and before.outcome in (Outcome.PASS, Outcome.FAIL)
    return before if decided and now.outcome is not Outcome.INVALID else now


def rounds_may_decide(verdict: Verdict) -> bool:
    """Whether more rounds could decide a gate; not if there are too few stored sessions for any number of rounds.

    Stopping there costs no error: the verdict stays inconclusive.
    """
    compared = verdict.gate.delta is not None
    few = compared and 0 < len(verdict.gate.reference) < SESSIONS_FOR_SPREAD and verdict.rounds >= MIN_ROUNDS
    return verdict.outcome is Outcome.INCONCLUSIVE and not (few and verdict.rounds_needed is None)


def _decide(gate: Gate, values: Sequence[float], look: Look, incumbent: Sequence[float] | None) -> Verdict:
    """The verdict; MeasurementError if something is undefined."""
    metric = metric_of(gate.metric)
    if metric.aggregate is Aggregate.RATE and set(values) - {0.0, 1.0}:
        raise MeasurementError(f"a rate counts rounds by 0 and 1, got values {sorted(set(values))}")
    if metric.aggregate is Aggregate.CV and len(values) < 2:
        value, known = None, None
    else:
        value, known = aggregate_values(metric.aggregate, values), interval_of(gate, values, replace(look, gates=1))
    is_rate, compared = metric.aggregate is Aggregate.RATE, gate.delta is not None
    undecided = Verdict(
        gate=as_compared(gate, len(values)) if compared else gate,
        outcome=Outcome.INCONCLUSIVE,
        value=value,
        low=_finite(known.low if known else None),
        high=_finite(known.high if known else None),
        confidence_pct=CONFIDENCE_PCT,
        rounds=len(values),
        grade=grade(len(values)),
        gates=look.gates,
        autocorrelation=None if is_rate else autocorrelation(values),
        outliers=() if is_rate else outliers(values),
    )
    # Also if the gate is decided already, so that a broken reference is never hidden.
    if gate.delta is None:
        verdict = replace(undecided, rule=limit_rule(gate))
    else:
        verdict = judge_change(undecided, gate.delta, values, look, incumbent)
    if gate.not_comparable:
        return replace(undecided, outcome=Outcome.NOT_COMPARABLE, reason=gate.not_comparable)
    if len(values) < MIN_ROUNDS or (known is None and metric.aggregate is not Aggregate.MAX):
        few = f"{rounds_words(len(values))}; a verdict needs at least {MIN_ROUNDS}"
        verdict = replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=few)
    elif not compared:
        verdict = limit_verdict(verdict, values, look, known)
    return replace(
        verdict,
        worse_by=_finite(verdict.worse_by),
        effect_size=_finite(verdict.effect_size),
        reason=verdict.reason + reason_of(gate),
    )


def _check_gate(gate: Gate) -> Metric:
    """The gate's metric, when its numbers are numbers."""
    metric = metric_of(gate.metric)
    if not math.isfinite(gate.limit):
        raise UsageError(f"gate {gate.marker} ({gate.source}): its limit is {gate.limit}, wanted a finite number")
    if gate.delta is not None and not (math.isfinite(gate.delta) and gate.delta > 0):
        raise UsageError(f"gate {gate.marker} ({gate.source}): its delta is {gate.delta}, wanted a number above 0")
    return metric


def _finite(end: float | None) -> float | None:
    """An end of an interval; None if it is infinite, which reports cannot hold."""
    return end if end is not None and math.isfinite(end) else None
