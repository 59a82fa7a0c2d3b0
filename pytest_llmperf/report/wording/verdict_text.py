"""Verdicts in words: the gate, the value with its interval, the limit with its source, the cause, the next step."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.judge.diagnosis.client_saturation import nothing_left
from pytest_llmperf.judge.diagnosis.diagnose import Diagnosis, diagnose
from pytest_llmperf.judge.diagnosis.loss_explanation import client_advice
from pytest_llmperf.judge.diagnosis.phase_findings import explaining, in_words
from pytest_llmperf.judge.gates.evidence_grade import grade
from pytest_llmperf.judge.markers import usual_metric
from pytest_llmperf.judge.metrics.censored_ttft import upper_bound_words
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.regression.stored_sessions import SESSIONS_FOR_SPREAD
from pytest_llmperf.judge.stats.summary import MIN_ROUNDS
from pytest_llmperf.model import Bound, Outcome, Verdict
from pytest_llmperf.model.texts import counted
from pytest_llmperf.report.figures import value_of
from pytest_llmperf.report.severity_order import merged, worst_first
from pytest_llmperf.report.wording.amounts import amount, digits_of, figure, limit_amount
from pytest_llmperf.report.wording.critical_path_text import path_words, traced_path
from pytest_llmperf.report.wording.next_steps import machine_load, next_step

_VERBS = {
    Outcome.PASS: "passes",
    Outcome.FAIL: "fails",
    Outcome.INCONCLUSIVE: "is inconclusive",
    Outcome.NOT_COMPARABLE: "is not comparable here",
    Outcome.INVALID: "could not be judged",
}

_MOST_CAUSES = 2
"""Causes given for one failure, at most."""


def gate_name(verdict: Verdict) -> str:
    """The gate, with its metric unless that is the default one: `efficiency`, `ttft (ttft_ratio)`."""
    gate = verdict.gate
    name = "regression against the incumbent" if gate.incumbent else gate.marker
    return name if usual_metric(gate.marker) == gate.metric else f"{name} ({gate.metric})"


def limit_words(verdict: Verdict) -> str:
    """The limit and its source, e.g. `the minimum 95.0 % (baseline decision_card, E.1 #6)`."""
    gate, more = verdict.gate, digits_of(verdict)
    if gate.delta is not None:
        limit = amount(gate.limit, gate.metric, more)
        if gate.incumbent:
            return f"the incumbent's {limit}"
        part = f"first {verdict.rounds} rounds of each session; " if _in_part(verdict) else ""
        return f"the baseline's {limit} ({part}{gate.source})"
    return f"the {gate.bound.word} {limit_amount(gate.limit, gate.metric, more)} ({gate.source})"


def one_line(record: Record, verdict: Verdict) -> str:
    """One verdict in one line."""
    return (
        f"gate {gate_name(verdict)} {_VERBS[verdict.outcome]}: {name_of(record)}: "
        f"{_interval(verdict)} against {limit_words(verdict)}{_because(verdict)}"
    )


def name_of(record: Record) -> str:
    """What was measured: `chimera_homo on dual`."""
    return f"{record.measurement.scenario.name} on {record.measurement.topology.kind}"


def headline(verdict: Verdict) -> str:
    """A verdict in one line: gate, value, interval, limit and its source."""
    gate = verdict.gate
    if verdict.outcome is not Outcome.FAIL or verdict.value is None:
        against = f"{_interval(verdict)} against {limit_words(verdict)}{_because(verdict)}"
        return f"gate {gate_name(verdict)} {_VERBS[verdict.outcome]}: {against}"
    relation = "is worse than" if gate.delta is not None else ("is below" if gate.bound is Bound.MIN else "is above")
    head = f"gate {gate_name(verdict)}: {_interval(verdict)} {relation} {limit_words(verdict)}"
    return head if gate.delta is None else head + _because(verdict)


def explain(record: Record, verdicts: Sequence[Verdict]) -> str:
    """The failing verdicts of a measurement, the worst first; then, once, what was run, the causes and next steps.

    Args:
        record: the measurement.
        verdicts: one or more of its verdicts.
    """
    ordered = worst_first(verdicts)
    diagnosis = diagnose(record.measurement)
    return merged([_explained(record, verdict, ordered[0], diagnosis) for verdict in ordered])


def _explained(record: Record, verdict: Verdict, first: Verdict, diagnosis: Diagnosis | None) -> str:
    """A verdict with its explanation; the worst verdict, `first`, gives the number of rounds and names the causes."""
    measurement = record.measurement
    topology, head = measurement.topology, headline(verdict)
    real = "SIMULATED, " if topology.simulated else ""
    graded_as = grade(first.rounds, simulated=topology.simulated)
    bounded = upper_bound_words(verdict, measurement) if verdict.outcome is Outcome.FAIL else ""
    path = traced_path(measurement)
    label = "cause" if first.outcome is Outcome.FAIL else "seen"  # without a failure there is nothing to cause
    return "\n".join(
        [
            head,
            f"  {real}scenario {measurement.scenario.name}, topology {topology.kind}, {topology.backend} "
            f"{topology.model}, {first.rounds} rounds (evidence: {graded_as}); {_overall(record)}",
            *([f"  {path_words(path)}"] if path is not None else []),
            *(f"  {label}: {words}" for words in _causes(record, verdict, diagnosis)),
            *([f"  note: {bounded}"] if bounded not in head else []),  # a comparison has it in its first line
            *(f"  note: {words}" for words in machine_load(record, diagnosis)),
            f"  next: {next_step(record, verdict, diagnosis)}",
        ]
    )


def _causes(record: Record, verdict: Verdict, diagnosis: Diagnosis | None) -> list[str]:
    """The likeliest causes first: facts about the servers, phase regressions, then the largest share of the loss."""
    slower = explaining(record.phase_regressions, (verdict,))
    facts = diagnosis.facts[:1] if diagnosis is not None and not machine_load(record, diagnosis) else ()
    words = (*facts, in_words(slower) if slower else "", diagnosis.sentence if diagnosis is not None else "")
    return list(filter(None, words))[:_MOST_CAUSES]


def explain_nothing(record: Record) -> str:
    """Why every round of a measurement was discarded, and what to do; empty if some rounds count."""
    why = nothing_left(record.measurement)
    return f"{name_of(record)}: {why}\n  next: {client_advice(record.measurement)}" if why else ""


def young(verdict: Verdict) -> bool:
    """Whether a comparison is inconclusive because too few sessions are stored to estimate how much they differ."""
    stored = len(verdict.gate.reference)
    inconclusive = verdict.outcome is Outcome.INCONCLUSIVE and verdict.gate.delta is not None
    return inconclusive and 0 < stored < SESSIONS_FOR_SPREAD


def young_lines(record: Record, verdicts: Sequence[Verdict]) -> list[str]:
    """The inconclusive comparisons of a measurement with a young baseline, in three lines."""
    gate = verdicts[0].gate
    stored = len(gate.reference)
    figures = [
        f"{verdict.gate.metric} {amount(verdict.value, verdict.gate.metric)} "
        f"(stored {amount(verdict.gate.limit, verdict.gate.metric)})"
        for verdict in verdicts
    ]
    return [
        f"gate {gate.marker} is inconclusive: {name_of(record)}: no clear difference; baseline {gate.baseline} has "
        f"{counted(stored, 'session')}, {SESSIONS_FOR_SPREAD} are needed to measure how much sessions differ",
        f"  {', '.join(figures)}",
        f"  next: save passing runs on other days: --llmperf-save={gate.baseline}",
    ]


def _in_part(verdict: Verdict) -> bool:
    """Whether only the first rounds of some stored session were compared."""
    return any(len(stored) > verdict.rounds for stored in verdict.gate.reference)


def _interval(verdict: Verdict) -> str:
    """The value and its interval."""
    metric, more = verdict.gate.metric, digits_of(verdict)
    if verdict.low is None or verdict.high is None:
        return amount(verdict.value, metric, more)
    low, high = (figure(end, metric, more) for end in (verdict.low, verdict.high))
    return f"{amount(verdict.value, metric, more)} ({verdict.confidence_pct:g} % CI {low} to {high})"


def _because(verdict: Verdict) -> str:
    """The reason, unless interval and limit already show it."""
    gate, ends = verdict.gate, (verdict.low, verdict.high)
    if verdict.outcome is Outcome.INCONCLUSIVE and gate.delta is None and None not in ends:
        low, high = verdict.low or 0.0, verdict.high or 0.0
        if low <= gate.limit <= high and verdict.rounds >= MIN_ROUNDS:
            return ""
    return f": {verdict.reason}" if verdict.reason else ""


def _overall(record: Record) -> str:
    """The two efficiencies, or the two figures of a graph."""
    if record.measurement.scenario.graph:
        makespan, graph = (amount(value_of(record, name), name) for name in ("makespan_s", "graph_efficiency_pct"))
        return f"makespan {makespan}, graph efficiency {graph}"
    balance, scaling = (amount(value_of(record, name), name) for name in ("efficiency_pct", "scaling_efficiency_pct"))
    return f"balance efficiency {balance}, scaling efficiency {scaling}"
