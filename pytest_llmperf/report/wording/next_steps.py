"""What to do about a verdict that did not pass: the `next:` line."""

from __future__ import annotations

from statistics import median

from pytest_llmperf.judge.diagnosis.answer_notes import undefined_next
from pytest_llmperf.judge.diagnosis.client_saturation import client_overhead_problem
from pytest_llmperf.judge.diagnosis.diagnose import BUSY_NEIGHBOUR, Diagnosis
from pytest_llmperf.judge.diagnosis.loss_explanation import OWN_CORE, TAP_CORE, client_advice
from pytest_llmperf.judge.diagnosis.phase_findings import TO_LOOK_AT, explaining
from pytest_llmperf.judge.gate_kinds import GATE_KINDS
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.stats.roots import MOST_ROUNDS
from pytest_llmperf.judge.stats.summary import MIN_ROUNDS
from pytest_llmperf.model import Measurement, Outcome, Verdict

_NEED_TWO_AGENTS = ("efficiency_pct", "scaling_efficiency_pct", "speedup")
"""Metrics that need two agents or more."""

_LONGEST_ADVISED_MIN = 30.0
"""More rounds are advised only if they take no longer than this, min."""


def machine_load(record: Record, diagnosis: Diagnosis | None) -> tuple[str, ...]:
    """The load by other processes, if a phase regression explains the failure better than that load does."""
    busy = record.phase_regressions and diagnosis is not None and diagnosis.cause == BUSY_NEIGHBOUR
    return diagnosis.facts[:1] if busy and diagnosis is not None else ()


def next_step(record: Record, verdict: Verdict, diagnosis: Diagnosis | None) -> str:
    """What to do next about a verdict, by its outcome and the diagnosis of its measurement."""
    if verdict.outcome is Outcome.NOT_COMPARABLE:
        return (
            "set a limit for this machine in the marker or with --llmperf-limit, or save a baseline on it: "
            "--llmperf-save NAME"
        )
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return _to_decide(record, verdict)
    invalid = verdict.outcome is Outcome.INVALID
    return (
        (_to_be_valid(record.measurement, verdict.gate.metric) if invalid else "")
        or _by_diagnosis(record, verdict, diagnosis)
        or _where_to_look(record, verdict)
    )


def _where_to_look(record: Record, verdict: Verdict) -> str:
    """The next step if nothing is known of the cause."""
    topology, agents = record.measurement.topology, record.measurement.scenario.agents
    if topology.kind.shared and len(agents) > 1:
        return "run one instance per agent: use dual_ollama without --llmperf-topology"
    kind = GATE_KINDS.get(verdict.gate.marker)
    # Servers that the plugin started are gone by then.
    if kind is not None and kind.checks_placement and topology.backend == "attach":
        return f"check the second instance: curl {topology.instances[-1].url}/api/ps"
    arms = " of both arms" if verdict.gate.incumbent else ""
    return f"inspect the raw timings{arms}: pytest '{record.test}' --llmperf-json=run.json"


def _to_be_valid(measurement: Measurement, metric: str) -> str:
    """What to do about a client overhead that is too high or an undefined metric; empty if neither is known."""
    if client_overhead_problem(measurement):
        core = TAP_CORE if measurement.scenario.external else OWN_CORE
        return f"give the agents more work per round (num_predict), and {core}"
    return client_advice(measurement) if measurement.discarded else undefined_next(measurement, metric)


def _by_diagnosis(record: Record, verdict: Verdict, diagnosis: Diagnosis | None) -> str:
    """The next step that the diagnosis of a failure gives; empty if there is none."""
    if len(record.measurement.scenario.agents) == 1 and verdict.gate.metric in _NEED_TWO_AGENTS:
        return "run at least two agents, or use the gates throughput or ttft: a single agent has no balance"
    load = bool(machine_load(record, diagnosis))
    changed = explaining(record.phase_regressions, (verdict,)) or (record.phase_regressions[:1] if load else ())
    if changed and changed[0].commit and (load or not (diagnosis is not None and diagnosis.facts)):
        return f"see what changed since then: git log --oneline {changed[0].commit}..HEAD"
    if changed and load and not verdict.gate.incumbent:
        return f"check what changed since then: {TO_LOOK_AT[changed[0].part]}"
    own = verdict.outcome is Outcome.FAIL and not verdict.gate.incumbent  # a diagnosis covers one arm only
    return diagnosis.next_step if own and diagnosis is not None else ""


def _to_decide(record: Record, verdict: Verdict) -> str:
    """What would decide the gate: more rounds if they do not take too long, more sessions if they help, less noise."""
    stored = verdict.gate.delta is not None and verdict.gate.baseline
    more = f"save more passing sessions: --llmperf-save={stored}" if stored and verdict.sessions_needed else ""
    needed = verdict.rounds_needed
    minutes = None if needed is None else needed * round_s(record.measurement) / 60
    if needed is not None and minutes is not None and needed <= MOST_ROUNDS and minutes <= _LONGEST_ADVISED_MIN:
        rounds = f"allow more rounds: --llmperf-max-rounds={needed} (about {max(minutes, 1):.0f} min)"
        return f"{rounds}; or {more}" if more else rounds
    if verdict.rounds < MIN_ROUNDS:
        return f"allow more rounds (--llmperf-max-rounds): a verdict needs at least {MIN_ROUNDS}"
    return more or (
        "reduce the load on the machine, or move the limit: the value is too close to it for more rounds to decide"
        if verdict.gate.delta is None
        else "reduce the load on the machine, or use a larger delta"
    )


def round_s(measurement: Measurement) -> float:
    """Median duration of a round (each agent alone, then all together), s; 0 without rounds."""
    rounds = measurement.rounds
    if not rounds:
        return 0.0
    return median(
        (sum(run.duration_ns for run in round_.solo) + max(run.duration_ns for run in round_.together)) / 1e9
        for round_ in rounds
    )
