"""Why efficiency was lost: what is known of the servers first, then the largest share of the loss, then a trend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.diagnosis.client_saturation import (
    clocks_too_uncertain,
    discarded_of_total,
    last_saturation,
    why_discarded,
)
from pytest_llmperf.judge.diagnosis.decode_decline import decline_of, declining
from pytest_llmperf.judge.diagnosis.loss_explanation import (
    SHARE_PP,
    advice_on,
    agents_beside,
    client_advice,
    reports_durations,
    sentence_of,
)
from pytest_llmperf.judge.diagnosis.machine_health import busy_cores, neighbour_cores, swapping, throttled
from pytest_llmperf.judge.metrics.graphs.graph_loss import graph_loss
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.judge.metrics.slot_use import CAUSE as FEWER_SLOTS
from pytest_llmperf.judge.metrics.slot_use import fewer_slots
from pytest_llmperf.judge.metrics.time_breakdown import EfficiencyLoss, losses
from pytest_llmperf.model import Measurement, TopologyKind
from pytest_llmperf.model.results.server_observations import Observed

LEAST_PP = 1.0
"""A smaller loss of efficiency, in points, is not diagnosed."""

LARGE_PP = 10.0
"""A loss of at least this size, in points, is reported even if no gate fails."""

_MUCH_CORES = 0.5
"""Other processes are a busy neighbour if they use at least this many cores and leave at most this many idle."""

BUSY_NEIGHBOUR = "busy neighbour"

_LESS_CTX = "free memory where the context is smaller, or ask for less num_ctx"

_NOBODY_ELSE = "run it again when nobody else uses these servers"
_KEEP_LOADED = "keep the model loaded: does another client or too little memory push it out?"
_IDLE_MACHINE = "end what else runs here, or run it again when this machine is idle"

_FACTS = {
    Observed.ANOTHER_CLIENT: ("another client", _NOBODY_ELSE),
    Observed.LOADED_BY_OTHERS: ("another client", _NOBODY_ELSE),
    Observed.USED_BY_OTHERS: ("another client", _NOBODY_ELSE),
    Observed.RELOADED_BY_OTHERS: ("another client", _NOBODY_ELSE),
    Observed.BUSY_CORES: (BUSY_NEIGHBOUR, _IDLE_MACHINE),
    Observed.MODEL_LEFT: ("model left", _KEEP_LOADED),
    Observed.WAITED_FOR_MODEL: ("model left", _KEEP_LOADED),
    Observed.SPILLED: ("spilled to the CPU", "free GPU memory, or ask for less num_ctx"),
    Observed.UNEQUAL_PLACES: ("unequal places", "free GPU memory on the instance that has the model on the CPU"),
    Observed.VERSIONS_DIFFER: ("different versions", "install one version for all instances"),
    Observed.CONTEXTS_DIFFER: ("different contexts", _LESS_CTX),
    Observed.CONTEXT_IS_SMALL: ("different contexts", _LESS_CTX),
}
"""Cause and what to do, for each observation but `FEWER_SLOTS`, which `slot_use` reads: the first noted comes first."""

_THROTTLED = "let the machine cool down, and watch clocks and temperature while it runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why efficiency was lost.

    Attributes:
        cause: the cause in a few words: a fact's cause, else the name of the largest share (for a graph: phase and
            agents, e.g. `queue of w1`), else `throttling`, `saturated client` or `uncertain clocks`.
        facts: notes on the servers that explain the figures.
        sentence: the explanation by the figures; empty if they explain nothing.
        next_step: what to do; empty if it depends on the gate.
        of: the efficiency that lost more, `scaling` or `balance`, or `graph`; empty if none is defined.
        loss_pp: the loss of this efficiency by durations, mean over rounds, points.
        shares_pp: the shares of the loss, points, by `PART alone` (one agent is slower, even alone) and `PART together`
            (slower when agents run together); they add up to the loss; a negative share is a gain.
    """

    cause: str
    facts: tuple[str, ...] = ()
    sentence: str = ""
    next_step: str = ""
    of: str = ""
    loss_pp: float = 0.0
    shares_pp: Mapping[str, float]


def diagnose(measurement: Measurement) -> Diagnosis | None:
    """Why efficiency was lost; None if hardly any was lost and nothing is known."""
    facts = facts_of(measurement)
    loss = loss_of(measurement)
    sinking = declining(measurement)
    cause = sentence = advice = ""
    largest = max(loss.shares_pp, key=lambda key: loss.shares_pp[key]) if loss is not None else ""
    explains = loss is not None and loss.shares_pp[largest] >= SHARE_PP
    if loss is not None and explains and loss.loss_pp >= (LARGE_PP if sinking else LEAST_PP):
        cause = _of_a_shared_slot(measurement, loss, largest)
        sentence, advice = sentence_of(measurement, loss, cause), advice_on(measurement, loss, cause)
    elif sinking:
        cause, sentence, advice = "throttling", sinking, _THROTTLED
    elif measurement.discarded:  # they are not judged: no reason for what the others lost
        cause = "uncertain clocks" if clocks_too_uncertain(measurement) else "saturated client"
        advice = client_advice(measurement)
        sentence = f"{why_discarded(measurement)} in {discarded_of_total(measurement)}: {last_saturation(measurement)}"
    if not facts and (machine := of_machine(measurement)) and _of_cores(measurement, loss, cause):
        sank = decline_of(measurement) if sentence and sentence == sinking else 0.0
        facts = [fact for fact in machine if fact[0] != BUSY_NEIGHBOUR or neighbour_share(measurement) >= sank]
    by_slots = _by_slots(measurement, loss, cause)
    of_path = loss is not None and loss.of == "graph" and explains
    hidden = ("another client", FEWER_SLOTS) if of_path else ("another client",)
    telling = [fact for fact in facts if not (by_slots and fact[0] in hidden)]
    if telling:
        cause, _, advice = telling[0]
    elif loss is not None and of_path and cause == largest:
        cause = f"{largest.split()[0]} of {loss.slowest}"
    if not cause:
        return None
    return Diagnosis(
        cause=cause,
        facts=tuple(dict.fromkeys(said for _, said, _ in facts)),
        sentence=sentence,
        next_step=advice,
        of=loss.of if loss is not None else "",
        loss_pp=loss.loss_pp if loss is not None else 0.0,
        shares_pp=loss.shares_pp if loss is not None else {},
    )


def _of_a_shared_slot(measurement: Measurement, loss: EfficiencyLoss, cause: str) -> str:
    """The cause, or the queue of a shared slot if only the client saw the time that is missing.

    A server that reports no durations, or none that include the wait, hides its queue in `rest`; a `/v1` stream hides
    it in the time to its first token.
    """
    hidden = ("rest together",) if reports_durations(measurement) else ("rest together", "prefill together")
    one_slot = measurement.topology.kind is TopologyKind.SINGLE and len(measurement.scenario.agents) > 1
    return "queue together" if one_slot and loss.of == "scaling" and cause in hidden else cause


def facts_of(measurement: Measurement) -> list[tuple[str, str, str]]:
    """Cause, what was noted, and what to do, of all that is known of the servers and bears on the figures."""
    noted = [*map(str, measurement.incidents), *measurement.notes]
    told = [(cause, text, step) for phrase, (cause, step) in _FACTS.items() for text in noted if phrase in text]
    return [*fewer_slots(measurement), *told]


def of_machine(measurement: Measurement) -> list[tuple[str, str, str]]:
    """The same of what the telemetry saw of the machine."""
    causes = (
        (BUSY_NEIGHBOUR, crowded(measurement), _IDLE_MACHINE),
        ("swapping", swapping(measurement), "free memory: fewer or smaller models, or less num_ctx"),
        ("throttling", throttled(measurement), _THROTTLED),
    )
    return [cause for cause in causes if cause[1]]


def _of_cores(measurement: Measurement, loss: EfficiencyLoss | None, cause: str) -> bool:
    """Whether what the machine did may explain the loss: not a large one of a shared slot, a load, or other work.

    If no slot is shared, a server that gets no core also begins late, which looks like a queue.
    """
    others = ("load", "tokens", "queue") if _share_slots(measurement, loss) else ("load", "tokens")
    return loss is None or loss.loss_pp < LARGE_PP or not cause.startswith(others)


def _by_slots(measurement: Measurement, loss: EfficiencyLoss | None, cause: str) -> bool:
    """Whether agents lose much by a slot that they share; another client did not make them queue, if it was there."""
    queued = loss is not None and loss.loss_pp >= LARGE_PP and cause == "queue together"
    return queued and _share_slots(measurement, loss)


def _share_slots(measurement: Measurement, loss: EfficiencyLoss | None) -> bool:
    """Whether agents share a server; of a graph, those that lose."""
    if loss is not None and loss.of == "graph":
        return len(agents_beside(measurement, loss.instance)) > 1
    return measurement.topology.kind.shared


def crowded(measurement: Measurement) -> str:
    """Whether other processes used cores while none was idle, in words; empty if not, or if unknown."""
    others, busy = neighbour_cores(measurement), busy_cores(measurement)
    if measurement.telemetry is None or others is None or busy is None:
        return ""
    cores = measurement.telemetry.cores
    if others < _MUCH_CORES or cores - busy > _MUCH_CORES:
        return ""
    return (
        f"other processes used {others:.1f} of this machine's {cores} cores while the rounds ran; no idle core remained"
    )


def neighbour_share(measurement: Measurement) -> float:
    """The most that other processes can have slowed the servers down by: the share of the cores that they took."""
    others = neighbour_cores(measurement) if crowded(measurement) else None
    return others / measurement.telemetry.cores if others is not None and measurement.telemetry is not None else 0.0


def loss_of(measurement: Measurement) -> EfficiencyLoss | None:
    """The greater of the two losses, or that of a graph; None if they are not defined."""
    if measurement.scenario.graph:
        return graph_loss(measurement)
    try:
        series(measurement, "slowdown")
        series(measurement, "scaling_efficiency_pct")
    except MeasurementError:
        return None
    return max(losses(measurement.rounds), key=lambda loss: loss.loss_pp)
