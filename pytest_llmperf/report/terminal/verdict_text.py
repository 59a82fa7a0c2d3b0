"""Verdicts in words: which gate, value with its interval, limit and where it came from, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from pytest_llmperf.judge.diagnosis.client_saturation import dear, nothing_left
from pytest_llmperf.judge.diagnosis.diagnose import (
    BUSY_NEIGHBOUR,
    OWN_CORE,
    TAP_CORE,
    Diagnosis,
    client_advice,
    diagnose,
)
from pytest_llmperf.judge.diagnosis.phase_regressions import TO_LOOK_AT, explaining, in_words
from pytest_llmperf.judge.gates.reasons import typed
from pytest_llmperf.judge.metrics.answer_notes import undefined_next
from pytest_llmperf.judge.metrics.censored_ttft import upper_bound_words
from pytest_llmperf.judge.metrics.series import CATALOGUE, Aggregate
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.regression.stored_sessions import SESSIONS_FOR_SPREAD
from pytest_llmperf.judge.stats.confidence_intervals import MOST_ROUNDS
from pytest_llmperf.judge.stats.summary import MIN_ROUNDS, grade
from pytest_llmperf.model import Bound, Measurement, Outcome, Verdict
from pytest_llmperf.report.figures import value_of
from pytest_llmperf.report.severity_order import merged, worst_first

_DECIMALS = {"%": 1, "pp": 1, "ms": 0, "tok/s": 1, "x": 2, "ratio": 3, "C": 0}

_MOST_DIGITS = 7
"""More of them than usual tell nothing that a reader asks for."""

_VERBS = {
    Outcome.PASS: "holds",
    Outcome.FAIL: "fails",
    Outcome.INCONCLUSIVE: "is undecided",
    Outcome.NOT_COMPARABLE: "is not comparable here",
    Outcome.INVALID: "could not be judged",
}

_PLAIN = {
    "efficiency": "efficiency_pct",
    "scaling": "scaling_efficiency_pct",
    "speedup": "speedup",
    "contention": "contention_rate_ttft",
    "throughput": "decode_tok_s",
    "ttft": "ttft_ms",
    "memory": "vram_gib",
    "thermal": "gpu_temperature_c",
}
"""What the name of a gate stands for, unless the text says otherwise."""

_OF_SEVERAL = ("efficiency_pct", "scaling_efficiency_pct", "speedup")
"""Metrics that one agent does not have."""

_MOST_SEEN = 2
"""Explanations of one failure."""

_PATIENCE_MIN = 30.0
"""More minutes of rounds than this nobody waits for: then the advice is another one."""


def amount(value: float | None, metric: str, more: int = 0) -> str:
    """A value with its unit, e.g. `81.2 %`; rates of rounds in percent; `no value` if there is none.

    Args:
        value: in the metric's unit.
        metric: in the catalogue.
        more: digits more than usual, see `digits_apart`.
    """
    return "no value" if value is None else f"{_figure(value, metric, more)} {_unit(metric)}"


def limit_amount(limit: float, metric: str, more: int = 0) -> str:
    """A limit with its unit, as it was given: `95.0 %`, `99.99 %`; one that was computed like any value."""
    return f"{_limit_figure(limit, metric, more)} {_unit(metric)}"


def digits_apart(metric: str, limit: float, values: Sequence[float | None]) -> int:
    """How many digits more than usual it takes until each value, as it is shown, lies where it lies of the limit.

    Args:
        metric: in the catalogue.
        limit: as `limit_amount` shows it.
        values: that a reader compares with it; None: there is none.

    Returns:
        0 where the usual ones do, and where none tell.
    """
    for more in range(_MOST_DIGITS):
        shown = float(_limit_figure(limit, metric, more))
        sides = ((float(_figure(one, metric, more)) - shown, one - limit) for one in values if one is not None)
        if all((shown > 0) == (real > 0) and (shown < 0) == (real < 0) for shown, real in sides):
            return more
    return 0


def digits_of(verdict: Verdict) -> int:
    """How many digits more than usual tell a verdict's value and interval from its limit.

    The interval of a comparison is that of the value alone, which nobody compares with the stored centre.
    """
    gate = verdict.gate
    ends = () if gate.delta is not None else (verdict.low, verdict.high)
    return digits_apart(gate.metric, gate.limit, (verdict.value, *ends))


def digits_in(verdict: Mapping[str, Any]) -> int:
    """The same of a verdict in a session's document."""
    gate = verdict["gate"]
    ends = () if gate["delta"] is not None else (verdict["low"], verdict["high"])
    return digits_apart(gate["metric"], gate["limit"], (verdict["value"], *ends))


def gate_name(verdict: Verdict) -> str:
    """The gate, with the metric where its name does not say it: `efficiency`, `ttft (ttft_ratio)`."""
    gate = verdict.gate
    return gate.marker if _PLAIN.get(gate.marker) == gate.metric else f"{gate.marker} ({gate.metric})"


def limit_words(verdict: Verdict) -> str:
    """The limit and its source, e.g. `the minimum 95.0 % (baseline decision_card, E.1 #6)`."""
    gate, more = verdict.gate, digits_of(verdict)
    if gate.delta is not None:
        limit = amount(gate.limit, gate.metric, more)
        if gate.incumbent:
            return f"the incumbent's {limit}"
        part = f"first {verdict.rounds} rounds of each session; " if _in_part(verdict) else ""
        return f"the stored {limit} ({part}{gate.source})"
    side = "minimum" if gate.bound is Bound.MIN else "maximum"
    return f"the {side} {limit_amount(gate.limit, gate.metric, more)} ({gate.source})"


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
    """A verdict that is no pass: gate, value, interval, limit and source."""
    gate = verdict.gate
    if verdict.outcome is not Outcome.FAIL:
        against = f"{_interval(verdict)} against {limit_words(verdict)}{_because(verdict)}"
        return f"gate {gate_name(verdict)} {_VERBS[verdict.outcome]}: {against}"
    relation = "is worse than" if gate.delta is not None else ("is below" if gate.bound is Bound.MIN else "is above")
    head = f"gate {gate_name(verdict)}: {_interval(verdict)} {relation} {limit_words(verdict)}"
    return head if gate.delta is None else head + _because(verdict)


def explain(record: Record, verdicts: Sequence[Verdict]) -> str:
    """The failing verdicts of a measurement, the worst first; then, once, what was run, what was seen and what to type.

    Args:
        record: the measurement.
        verdicts: one or more of its verdicts.
    """
    ordered = worst_first(verdicts)
    found = diagnose(record.measurement)
    return merged([_explained(record, verdict, ordered[0], found) for verdict in ordered])


def _explained(record: Record, verdict: Verdict, first: Verdict, found: Diagnosis | None) -> str:
    """One verdict with its explanation; the rounds are those of the measurement's first verdict."""
    measurement = record.measurement
    topology, head = measurement.topology, headline(verdict)
    real = "SIMULATED, " if topology.simulated else ""
    graded_as = grade(first.rounds, simulated=topology.simulated)
    bounded = upper_bound_words(verdict, measurement) if verdict.outcome is Outcome.FAIL else ""
    return "\n".join(
        [
            head,
            f"  {real}scenario {measurement.scenario.name}, topology {topology.kind}, {topology.backend} "
            f"{topology.model}, {first.rounds} rounds ({graded_as}); {_both_efficiencies(record)}",
            *([f"  seen: {bounded}"] if bounded not in head else []),  # a comparison gives its reason there
            *(f"  seen: {words}" for words in _seen(record, verdict, found)),
            *(f"  note: {words}" for words in _machine_load(record, found)),
            f"  next: {next_step(record, verdict, found)}",
        ]
    )


def _seen(record: Record, verdict: Verdict, found: Diagnosis | None) -> list[str]:
    """What explains it, the likeliest first: what is known of the servers, what has changed, where the loss goes."""
    slower = explaining(record.slower, (verdict,))
    facts = found.facts[:1] if found is not None and not _machine_load(record, found) else ()
    words = (*facts, in_words(slower) if slower else "", found.sentence if found is not None else "")
    return list(filter(None, words))[:_MOST_SEEN]


def _machine_load(record: Record, found: Diagnosis | None) -> tuple[str, ...]:
    """What other processes took of this machine, where a part that takes longer than before explains more."""
    busy = record.slower and found is not None and found.cause == BUSY_NEIGHBOUR
    return found.facts[:1] if busy and found is not None else ()


def explain_nothing(record: Record) -> str:
    """Why nothing is left of a measurement that no gate judged, and what to do; empty if something is."""
    why = nothing_left(record.measurement)
    return f"{name_of(record)}: {why}\n  next: {client_advice(record.measurement)}" if why else ""


def young(verdict: Verdict) -> bool:
    """Whether a comparison is undecided because too few sessions are stored to know how much sessions differ."""
    stored = len(verdict.gate.reference)
    undecided = verdict.outcome is Outcome.INCONCLUSIVE and verdict.gate.delta is not None
    return undecided and 0 < stored < SESSIONS_FOR_SPREAD


def young_lines(record: Record, verdicts: Sequence[Verdict]) -> list[str]:
    """Undecided comparisons with a young baseline, all of a measurement in a few lines."""
    gate = verdicts[0].gate
    stored = len(gate.reference)
    figures = [
        f"{one.gate.metric} {amount(one.value, one.gate.metric)} (stored {amount(one.gate.limit, one.gate.metric)})"
        for one in verdicts
    ]
    count = "1 session" if stored == 1 else f"{stored} sessions"
    return [
        f"gate {gate.marker} is undecided: {name_of(record)}: no clear difference, and baseline {gate.baseline} holds "
        f"{count} of the {SESSIONS_FOR_SPREAD} that show how much sessions differ",
        f"  {', '.join(figures)}",
        f"  next: save accepted runs of other days: --llmperf-save={gate.baseline}",
    ]


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
    load = bool(_machine_load(record, found))
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


def _in_part(verdict: Verdict) -> bool:
    """Whether stored sessions are longer than what was compared with them."""
    return any(len(stored) > verdict.rounds for stored in verdict.gate.reference)


def _unit(metric: str) -> str:
    found = CATALOGUE[metric]
    return "%" if found.aggregate is Aggregate.RATE else found.unit


def _figure(value: float, metric: str, more: int = 0) -> str:
    """A value without its unit."""
    found = CATALOGUE[metric]
    if found.aggregate is Aggregate.RATE:
        return f"{100 * value:.{3 + more}g}"
    return f"{value:.{_DECIMALS.get(found.unit, 2) + more}f}"


def _limit_figure(limit: float, metric: str, more: int) -> str:
    """A limit without its unit: no digit is rounded away of one that somebody typed."""
    given = 100 * limit if CATALOGUE[metric].aggregate is Aggregate.RATE else limit
    usual, exact = _figure(limit, metric), typed(given)
    if not exact:
        return _figure(limit, metric, more)
    return usual if float(usual) == float(exact) else exact


def _interval(verdict: Verdict) -> str:
    """The value and its interval."""
    metric, more = verdict.gate.metric, digits_of(verdict)
    if verdict.low is None or verdict.high is None:
        return amount(verdict.value, metric, more)
    low, high = (_figure(end, metric, more) for end in (verdict.low, verdict.high))
    return f"{amount(verdict.value, metric, more)} ({verdict.confidence_pct:g} % CI {low} to {high})"


def _because(verdict: Verdict) -> str:
    """The reason, where interval and limit do not show it already."""
    gate, ends = verdict.gate, (verdict.low, verdict.high)
    if verdict.outcome is Outcome.INCONCLUSIVE and gate.delta is None and None not in ends:
        low, high = verdict.low or 0.0, verdict.high or 0.0
        if low <= gate.limit <= high and verdict.rounds >= MIN_ROUNDS:
            return ""
    return f": {verdict.reason}" if verdict.reason else ""


def _both_efficiencies(record: Record) -> str:
    balance, scaling = (amount(value_of(record, name), name) for name in ("efficiency_pct", "scaling_efficiency_pct"))
    return f"balance efficiency {balance}, scaling efficiency {scaling}"
