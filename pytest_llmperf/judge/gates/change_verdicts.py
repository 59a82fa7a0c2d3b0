"""Verdicts of regression gates: a change against delta, from stored sessions or from an incumbent that took turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge.gates.reasons import change_reason
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.regression import paired_rounds, session_means, stored_sessions
from pytest_llmperf.judge.regression.effect_scale import PERCENT_OF_ZERO
from pytest_llmperf.judge.regression.paired_rounds import change_between_pairs
from pytest_llmperf.judge.regression.session_means import change_of_means, common_rounds
from pytest_llmperf.judge.regression.stored_change import StoredChange, change_from_sessions
from pytest_llmperf.judge.stats.summary import Aggregate, mean, reference_centre
from pytest_llmperf.model import Gate, Outcome, Verdict

if TYPE_CHECKING:
    from pytest_llmperf.judge.metrics.catalogue import Metric
    from pytest_llmperf.judge.regression.decision_rule import ChangeEstimate, Look


def as_compared(gate: Gate, rounds: int) -> Gate:
    """The gate with the limit for this many new rounds: the centre of as many first rounds of each session."""
    if not any(len(stored) > rounds for stored in gate.reference):
        return gate
    aggregate = metric_of(gate.metric).aggregate
    return replace(gate, limit=reference_centre(aggregate, [stored[:rounds] for stored in gate.reference]))


def judge_change(
    undecided: Verdict, delta: float, values: Sequence[float], look: Look, incumbent: Sequence[float] | None
) -> Verdict:
    """The verdict by the change from what the gate compares with.

    Raises:
        UsageError: the metric is a rate or a CV.
        MeasurementError: there is no stored session, or its values are broken.
    """
    gate, metric = undecided.gate, metric_of(undecided.gate.metric)
    if metric.aggregate not in (Aggregate.MEAN, Aggregate.MEDIAN):
        raise UsageError(f"gate {gate.marker}: {metric.name} has no regression gate, it has a limit gate")
    rule = stored_sessions.RULE if incumbent is None else paired_rounds.RULE
    undecided = replace(undecided, rule=rule)
    if incumbent is not None:
        return _against_incumbent(undecided, delta, values, look, incumbent)
    if not gate.reference:
        raise MeasurementError("the stored baseline has no session")
    stored = change_from_sessions(
        aggregate=metric.aggregate,
        bound=gate.bound,
        base=_base(gate, metric),
        delta=delta,
        sessions=gate.reference,
        values=values,
        look=look,
    )
    if stored is None:
        few = "the stored sessions have one round each; save a session of at least 3 rounds"
        return replace(undecided, reason=few)
    reason = change_reason(stored.change, delta, stored) + _zero_words(metric, gate.limit)
    return _with_change(undecided, stored.change, reason, stored)


def judge_sessions(verdict: Verdict, sessions: Sequence[Sequence[float]], gates: int) -> Verdict:
    """The verdict on several sessions, by the means of sessions; the given one if there are too few for that.

    Args:
        verdict: the verdict on all rounds of these sessions as one session.
        sessions: the values of the metric, one sequence a session.
        gates: number of gates that share the error of `fail`.
    """
    gate, delta, metric = verdict.gate, verdict.gate.delta, metric_of(verdict.gate.metric)
    rounds = common_rounds(gate.reference, sessions)
    if rounds is None or delta is None or verdict.outcome in (Outcome.INVALID, Outcome.NOT_COMPARABLE):
        return verdict
    gate = as_compared(gate, rounds)
    changed = change_of_means(
        aggregate=metric.aggregate,
        bound=gate.bound,
        base=_base(gate, metric),
        delta=delta,
        standard=gate.reference,
        candidate=sessions,
        gates=gates,
    )
    if changed is None:
        return verdict
    reason = change_reason(changed.change, delta, changed, each_side=True) + _zero_words(metric, gate.limit)
    centre = reference_centre(metric.aggregate, [session[:rounds] for session in sessions])
    compared = replace(verdict, gate=gate, value=centre, rounds=rounds * len(sessions), rule=session_means.RULE)
    return _with_change(compared, changed.change, reason, changed)


def _against_incumbent(
    undecided: Verdict, delta: float, values: Sequence[float], look: Look, incumbent: Sequence[float]
) -> Verdict:
    """The verdict by the differences of pairs of rounds."""
    gate, metric = undecided.gate, metric_of(undecided.gate.metric)
    change = change_between_pairs(
        bound=gate.bound,
        in_points=metric.in_points,
        delta=delta,
        incumbent=incumbent,
        candidate=values,
        look=look,
    )
    if change is None:  # a single pair, which is reported as too few rounds
        return undecided
    name = f"incumbent {gate.incumbent}" if gate.incumbent else "the incumbent"
    words = change_reason(change, delta, pairs=len(values)) + _zero_words(metric, mean(incumbent))
    return _with_change(undecided, change, f"against {name}: {words}")


def _base(gate: Gate, metric: Metric) -> float | None:
    """The value that changes are percentages of: the stored centre, unless it is 0; None for changes in points."""
    if metric.in_points:
        return None
    if gate.limit == 0 == reference_centre(metric.aggregate, gate.reference):
        return PERCENT_OF_ZERO
    return gate.limit


def _zero_words(metric: Metric, base: float) -> str:
    """The reference of a percentage change in words, if it is not the base."""
    if metric.in_points or base:
        return ""
    return f"; the reference is 0: percent of {PERCENT_OF_ZERO:g} {metric.unit}"


def _with_change(
    undecided: Verdict, change: ChangeEstimate, reason: str, stored: StoredChange | None = None
) -> Verdict:
    """The verdict with the figures of a change."""
    return replace(
        undecided,
        outcome=change.outcome,
        reason=reason,
        worse_by=change.estimate,
        error_of_fail=change.error_of_fail,
        error_of_pass=change.error_of_pass,
        effect_size=None if change.effect_size is None else -change.effect_size,
        power_pct=change.power_pct,
        rounds_needed=change.rounds_needed,
        sessions_needed=stored.sessions_needed if stored else None,
    )
