"""What to do about a verdict that did not pass: the `next:` line."""

from __future__ import annotations

from statistics import median

from pytest_llmperf.judge.diagnosis.client_saturation import dear
from pytest_llmperf.judge.diagnosis.diagnose import (
    BUSY_NEIGHBOUR,
    OWN_CORE,
    TAP_CORE,
    Diagnosis,
    client_advice,
)
from pytest_llmperf.judge.diagnosis.phase_regressions import TO_LOOK_AT, explaining
from pytest_llmperf.judge.metrics.answer_notes import undefined_next
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.stats.confidence_intervals import MOST_ROUNDS
from pytest_llmperf.judge.stats.summary import MIN_ROUNDS
from pytest_llmperf.model import Measurement, Outcome, Verdict

_OF_SEVERAL = ("efficiency_pct", "scaling_efficiency_pct", "speedup")
"""Metrics that one agent does not have."""

_PATIENCE_MIN = 30.0
"""More minutes of rounds than this nobody waits for: then the advice is another one."""


def machine_load(record: Record, found: Diagnosis | None) -> tuple[str, ...]:
    """What other processes took of this machine, where a part that takes longer than before explains more."""
    busy = record.slower and found is not None and found.cause == BUSY_NEIGHBOUR
    return found.facts[:1] if busy and found is not None else ()


def next_step(record: Record, verdict: Verdict, found: Diagnosis | None) -> str:
    """What to type, by the nature of the verdict and what was found of the measurement."""
    if verdict.outcome is Outcome.NOT_COMPARABLE:
        return (
            "give the marker a value of this machine, or --llmperf-limit, or save a baseline here: --llmperf-save NAME"
        )
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return _to_decide(record, verdict)
    measurement = record.measurement
    if verdict.outcome is Outcome.INVALID and (step := _to_be_valid(measurement, verdict.gate.metric)):
        return step
    told = _told(record, verdict, found)
    if told or (measurement.topology.kind.shared and len(measurement.scenario.agents) > 1):
        return told or "give each agent an instance of its own: dual_ollama, no --llmperf-topology"
    together = verdict.gate.marker in ("efficiency", "contention", "scaling", "ttft")
    if together and measurement.topology.backend == "attach":  # servers of our own have ended by then
        return f"check the second instance: curl {measurement.topology.instances[-1].url}/api/ps"
    whose = "both deployments'" if verdict.gate.incumbent else "the"
    return f"look at {whose} raw timings: pytest '{record.test}' --llmperf-json=run.json"


def _to_be_valid(measurement: Measurement, metric: str) -> str:
    """What to do about clients that took too much for themselves, or a metric that is undefined; empty if unknown."""
    if dear(measurement):
        core = TAP_CORE if measurement.scenario.external else OWN_CORE
        return f"give the agents more to do in a round (num_predict), and {core}"
    return client_advice(measurement) if measurement.discarded else undefined_next(measurement, metric)


def _told(record: Record, verdict: Verdict, found: Diagnosis | None) -> str:
    """What the explanation of a failure says to do; empty where it says nothing."""
    if len(record.measurement.scenario.agents) == 1 and verdict.gate.metric in _OF_SEVERAL:
        return "run two agents or more: with one there is nothing to balance; or gate its throughput or ttft instead"
    load = bool(machine_load(record, found))
    changed = explaining(record.slower, (verdict,)) or (record.slower[:1] if load else ())
    if changed and changed[0].commit and (load or not (found is not None and found.facts)):
        return f"see what has changed since: git log --oneline {changed[0].commit}..HEAD"
    if changed and load and not verdict.gate.incumbent:
        return f"see what has changed since: {TO_LOOK_AT[changed[0].part]}"
    own = verdict.outcome is Outcome.FAIL and not verdict.gate.incumbent  # of two, no shares
    return found.next_step if own and found is not None else ""


def _to_decide(record: Record, verdict: Verdict) -> str:
    """What would decide: rounds where so many can be waited for, sessions where they tell, else less noise."""
    stored = verdict.gate.delta is not None and verdict.gate.baseline
    more = f"add sessions of accepted runs: --llmperf-save={stored}" if stored and verdict.sessions_needed else ""
    needed = verdict.rounds_needed
    minutes = None if needed is None else needed * round_s(record.measurement) / 60
    if needed is not None and minutes is not None and needed <= MOST_ROUNDS and minutes <= _PATIENCE_MIN:
        rounds = f"allow more rounds: --llmperf-max-rounds={needed} (about {max(minutes, 1):.0f} min)"
        return f"{rounds}; or {more}" if more else rounds
    if verdict.rounds < MIN_ROUNDS:
        return f"allow more rounds (--llmperf-max-rounds): a verdict needs {MIN_ROUNDS} or more"
    return more or (
        "quiet the machine, or move the limit: rounds alone do not tell so near to it"
        if verdict.gate.delta is None
        else "quiet the machine, or give the gate a larger delta"
    )


def round_s(measurement: Measurement) -> float:
    """What a round takes: each agent alone, then all together, s; the median, 0 where there is none."""
    rounds = measurement.rounds
    if not rounds:
        return 0.0
    return median(
        (sum(run.duration_ns for run in one.solo) + max(run.duration_ns for run in one.together)) / 1e9
        for one in rounds
    )
