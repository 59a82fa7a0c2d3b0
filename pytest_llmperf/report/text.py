"""Verdicts in words: which gate, value with its interval, limit and where it came from, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from pytest_llmperf.judge.evidence import evidence_of
from pytest_llmperf.judge.metrics import CATALOGUE
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.upper import upper_bound_words
from pytest_llmperf.judge.validity import dear
from pytest_llmperf.model import Bound, Outcome, Verdict
from pytest_llmperf.report.figures import value_of

_DECIMALS = {"%": 1, "pp": 1, "ms": 0, "tok/s": 1, "x": 2, "ratio": 3}

_VERBS = {
    Outcome.PASS: "holds",
    Outcome.FAIL: "fails",
    Outcome.INCONCLUSIVE: "is undecided",
    Outcome.NOT_COMPARABLE: "is not comparable here",
    Outcome.INVALID: "could not be judged",
}


def amount(value: float | None, metric: str) -> str:
    """A value with its unit, e.g. `81.2 %`; `?` where there is none."""
    unit = CATALOGUE[metric].unit
    if value is None:
        return f"? {unit}"
    return f"{value:.{_DECIMALS.get(unit, 2)}f} {unit}"


def limit_words(verdict: Verdict) -> str:
    """The limit and its source, e.g. `the minimum 95.0 % (baseline decision_card, E.1 #6)`."""
    gate = verdict.gate
    if gate.delta is not None:
        unit = "pp" if CATALOGUE[gate.metric].unit == "%" else "%"
        if gate.incumbent:
            return f"the incumbent's {amount(gate.limit, gate.metric)} ({gate.delta:g} {unit} matter)"
        return f"the stored {amount(gate.limit, gate.metric)} ({gate.delta:g} {unit} matter; {gate.source})"
    side = "minimum" if gate.bound is Bound.MIN else "maximum"
    return f"the {side} {amount(gate.limit, gate.metric)} ({gate.source})"


def one_line(record: Record, verdict: Verdict) -> str:
    """One verdict in one line."""
    gate, measurement = verdict.gate, record.measurement
    return (
        f"gate {gate.marker} {_VERBS[verdict.outcome]}: {measurement.scenario.name} on {measurement.topology.kind}: "
        f"{gate.metric} {_interval(verdict)} against {limit_words(verdict)}{_because(verdict)}"
    )


def explain(record: Record, verdict: Verdict, run: Sequence[Record] = ()) -> str:
    """A failing verdict in a few lines, the last of which says what to type next.

    Args:
        record: the measurement.
        verdict: one of its verdicts.
        run: the records of the same run so far, see `evidence_of`.
    """
    gate, measurement = verdict.gate, record.measurement
    topology = measurement.topology
    if verdict.outcome is Outcome.FAIL:
        relation = (
            "is worse than" if gate.delta is not None else ("is below" if gate.bound is Bound.MIN else "is above")
        )
        head = f"gate {gate.marker}: {_interval(verdict)} {relation} {limit_words(verdict)}"
    else:
        head = f"gate {gate.marker} {_VERBS[verdict.outcome]}: {_interval(verdict)} against {limit_words(verdict)}"
    real = "SIMULATED, " if topology.simulated else ""
    lines = [
        head if verdict.outcome is Outcome.FAIL and gate.delta is None else head + _because(verdict),
        f"  {real}scenario {measurement.scenario.name}, topology {topology.kind}, {topology.backend} {topology.model}, "
        f"{verdict.rounds} rounds ({verdict.grade}); {_both_efficiencies(record)}",
    ]
    if verdict.outcome is Outcome.FAIL and (words := upper_bound_words(verdict, measurement)):
        lines.append(f"  seen: {words}")
    if (evidence := evidence_of(record, run)).lacks:
        lines.append(f"  evidence so far: {evidence}")
    if effect := effect_of(record):
        lines.append(f"  seen: {effect}")
    lines.append(f"  next: {_next_step(record, verdict)}")
    return "\n".join(lines)


def effect_of(record: Record) -> str:
    """What the figures say about lost efficiency, in one clause; empty where little is lost and both agree."""
    balance, scaling = value_of(record, "efficiency_pct"), value_of(record, "scaling_efficiency_pct")
    slowdown, queue_ms = value_of(record, "slowdown"), value_of(record, "queue_ms")
    if balance is None or scaling is None or slowdown is None or (scaling >= 90 and abs(balance - scaling) <= 10):
        return ""
    wall_ms = median(max(run.duration_ns for run in one.together) / 1e6 for one in record.measurement.rounds)
    if queue_ms is not None and queue_ms > 0.25 * wall_ms:
        return (
            f"requests wait for a slot (queue time {queue_ms:.0f} ms of a round's {wall_ms:.0f} ms): "
            "agents that share a slot are served one after the other"
        )
    if balance - scaling > 10:
        return f"the agents are slower together than alone (up to {slowdown:.2f} x): they share a device, or its cores"
    if balance < 90 or scaling - balance > 10:
        return f"one agent takes longer than the other: balance {balance:.1f} %, slowdown up to {slowdown:.2f} x"
    return ""


def _interval(verdict: Verdict) -> str:
    """The value and its interval."""
    metric = verdict.gate.metric
    if verdict.low is None or verdict.high is None:
        return amount(verdict.value, metric)
    low, high = (f"{end:.{_DECIMALS.get(CATALOGUE[metric].unit, 2)}f}" for end in (verdict.low, verdict.high))
    return f"{amount(verdict.value, metric)} ({verdict.confidence_pct:g} % interval {low} to {high})"


def _because(verdict: Verdict) -> str:
    return f": {verdict.reason}" if verdict.reason else ""


def _both_efficiencies(record: Record) -> str:
    balance, scaling = (amount(value_of(record, name), name) for name in ("efficiency_pct", "scaling_efficiency_pct"))
    return f"balance efficiency {balance}, scaling efficiency {scaling}"


def _next_step(record: Record, verdict: Verdict) -> str:
    """What to type, by the nature of the verdict."""
    if verdict.outcome is Outcome.NOT_COMPARABLE:
        return (
            "give the marker a value of this machine, or --llmperf-limit, or save a baseline here: --llmperf-save NAME"
        )
    if verdict.outcome is Outcome.INCONCLUSIVE:
        stored = verdict.gate.delta is not None and verdict.gate.baseline
        more = f"; add sessions of accepted runs: --llmperf-save {stored}" if stored else ""
        return f"allow more rounds (--llmperf-max-rounds), or quiet the machine{more}"
    measurement = record.measurement
    if verdict.outcome is Outcome.INVALID and (measurement.discarded or dear(measurement)):
        core = "leave the client a core of its own (what else runs here?)"
        more = f"give the agents more to do in a round (num_predict), and {core}"
        return more if dear(measurement) else f"{core}, or try --llmperf-runtime=processes"
    if measurement.topology.kind.shared:
        return "give each agent an instance of its own: the fixture dual_ollama"
    if verdict.gate.marker in ("efficiency", "contention", "scaling", "ttft"):
        return f"check the second instance: curl {measurement.topology.instances[-1].url}/api/ps"
    whose = "both deployments'" if verdict.gate.incumbent else "the"
    return f"look at {whose} raw timings: pytest '{record.test}' --llmperf-json run.json"
