"""How many slots a shared instance has, inferred from its answers: Ollama gives some models only one on any request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pytest_llmperf.judge.metrics.contradictions import believable
from pytest_llmperf.model import Measurement, RequestTiming, TopologyKind
from pytest_llmperf.model.results.server_observations import Observed

_WAITED_SHARE = 0.2
"""A request that waited for a longer part of its time found no free slot."""

CAUSE = "fewer slots than asked for"


def asked(measurement: Measurement) -> int:
    """Slots that the topology needs of its one instance; 0 where agents are to share one, or none."""
    shares = measurement.topology.kind is TopologyKind.SINGLE_PARALLEL and len(measurement.scenario.agents) > 1
    return len(measurement.scenario.agents) if shares else 0


def seen(parts: Iterable[Sequence[RequestTiming]], wanted: int) -> int:
    """How many requests the server worked on at once; 0 where fewer than wanted, and nothing says that one waited.

    Args:
        parts: requests that were sent at once, with the server's durations.
        wanted: slots.
    """
    most, waited = 0, False
    for part in parts:
        requests = list(filter(believable, part))
        most = max(most, _at_once(requests))
        waited = waited or any(request.queue_ns > _WAITED_SHARE * request.total_duration_ns for request in requests)
    return most if waited or most >= wanted else 0


def _at_once(requests: Sequence[RequestTiming]) -> int:
    """How many were worked on in the middle of one of them, by the server's durations."""
    spans = [
        (request.done_ns - request.prompt_eval_duration_ns - request.eval_duration_ns, request.done_ns)
        for request in requests
        if request.eval_duration_ns
    ]
    middles = [(begin + end) / 2 for begin, end in spans]
    return max((sum(begin < middle < end for begin, end in spans) for middle in middles), default=0)


def looked_at(measurement: Measurement, requests: Sequence[RequestTiming]) -> Measurement:
    """The measurement with what these requests, sent at once, tell of the slots: in instance, manifest and notes."""
    wanted, (instance, *_) = asked(measurement), measurement.topology.instances
    count = seen([requests], wanted) if wanted else 0
    if count <= instance.slots_seen:
        return measurement
    before = in_words(instance.name, instance.slots_seen, wanted)
    notes = tuple(note for note in measurement.notes if note != before)
    if count < wanted:
        notes = (*notes, in_words(instance.name, count, wanted))
    topology = replace(measurement.topology, instances=(replace(instance, slots_seen=count),))
    facts = dict(measurement.manifest.facts)
    if settings := facts.get("server_settings"):
        others = [setting for setting in settings.split("; ") if not setting.startswith(("slots=", "slots_"))]
        facts["server_settings"] = "; ".join([*others, f"slots_asked={wanted}", f"slots_seen={count}"])
    return replace(measurement, topology=topology, manifest=replace(measurement.manifest, facts=facts), notes=notes)


def fewer_slots(measurement: Measurement) -> list[tuple[str, str, str]]:
    """The cause, its evidence and the next step, if each agent should have had a slot but agents shared slots."""
    wanted = asked(measurement)
    if not wanted:
        return []
    noted = [note for note in measurement.notes if Observed.FEWER_SLOTS in note]
    if not noted:
        parts = [[request for run in round_.together for request in run.requests] for round_ in measurement.rounds]
        if not 0 < (count := seen(parts, wanted)) < wanted:
            return []
        noted = [in_words(measurement.topology.instances[0].name, count, wanted)]
    return [(CAUSE, noted[0], _next(measurement, wanted))]


def in_words(instance: str, count: int, wanted: int) -> str:
    """The note."""
    at_once = f"{count} request{'s' * (count > 1)} at a time"
    return f"instance {instance} processes {at_once}, but {wanted} {Observed.FEWER_SLOTS}"


def _next(measurement: Measurement, wanted: int) -> str:
    if measurement.topology.backend in ("attach", "openai"):
        return (
            f"start the server with OLLAMA_NUM_PARALLEL={wanted} (llama-server: -np {wanted}); if Ollama's log says "
            "that the model does not support parallel requests, use an instance for each agent"
        )
    return "Ollama gives some models one slot, whatever is asked for: use an instance for each agent, or another model"
