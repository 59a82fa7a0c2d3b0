"""The triage after the rounds, untimed: what the servers report now, and what the rounds show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.judge.diagnosis.diagnose import facts_of
from pytest_llmperf.judge.diagnosis.phase_findings import PhaseRegression
from pytest_llmperf.judge.diagnosis.triage import Answer, answer, of_measurement, unknown
from pytest_llmperf.judge.metrics.contradictions import believable
from pytest_llmperf.servers.clients.client_factory import client_of
from pytest_llmperf.servers.clients.server_client import some_of
from pytest_llmperf.servers.probes import consistency

if TYPE_CHECKING:
    from pytest_llmperf.model import Instance, Measurement
    from pytest_llmperf.servers.probes.consistency import Seat

_TURN = "the model was unloaded for the incumbent's turn"
_OF_SERVERS = ("versions", "model", "context", "memory", "others")


def triage(
    measurement: Measurement, slower: Sequence[PhaseRegression], held: str, *, taking_turns: bool = False
) -> tuple[Answer, ...]:
    """Answer every question of the triage, as far as possible.

    Args:
        measurement: the measurement with its rounds; its servers are still open.
        slower: see Record.
        held: what the measurement was compared with, in words; empty: nothing.
        taking_turns: with an incumbent on the same GPU: its own model may have been unloaded by now.
    """
    return (*_of_servers(measurement, taking_turns=taking_turns), *of_measurement(measurement, slower, held))


def _of_servers(measurement: Measurement, *, taking_turns: bool) -> Sequence[Answer]:
    topology = measurement.topology
    answering: dict[str, str] = {}
    silent = []
    for instance in topology.instances:
        try:
            with client_of(instance) as control:
                answering[instance.name] = control.version()
        except LlmperfError as error:
            silent.append(str(error.args[0]))
    alive = answer("alive", silent, f"{_names(topology.instances)}")
    if silent:
        return (alive, *(unknown(question, "not every instance answers") for question in _OF_SERVERS))
    if any(instance.api == "openai" for instance in topology.instances):
        return (alive, *(unknown(question, "this API does not say") for question in _OF_SERVERS))
    try:
        seats = consistency.look(topology, _asked_ctx(measurement))
    except LlmperfError as error:
        return (alive, *(unknown(question, str(error.args[0])) for question in _OF_SERVERS))
    seats = tuple(
        replace(seat, instance=replace(seat.instance, version=answering[seat.instance.name])) for seat in seats
    )
    same = f"{topology.model}, the same on {_names(topology.instances)}"
    unloaded = taking_turns and any(seat.loaded is None for seat in seats)
    return (
        alive,
        _versions(topology.instances, seats),
        answer("model", consistency.models(topology.model, seats), same),
        *(_loaded(seats) if not unloaded else (unknown(question, _TURN) for question in ("context", "memory"))),
        _others(measurement, seats),
    )


def _versions(before: Sequence[Instance], seats: Sequence[Seat]) -> Answer:
    """Whether all instances have the same version, the one from before the rounds."""
    now = [seat.instance.version for seat in seats]
    changed = [
        f"instance {instance.name} answers as version {version}, it was {instance.version}"
        for instance, version in zip(before, now, strict=True)
        if instance.version not in ("", version)
    ]
    return answer("versions", [*changed, *consistency.versions(seats)], ", ".join(dict.fromkeys(now)))


def _loaded(seats: Sequence[Seat]) -> tuple[Answer, Answer]:
    """Which context the model is loaded with, and where."""
    loaded = [seat.loaded for seat in seats if seat.loaded is not None]
    lengths = dict.fromkeys(f"{model.context_length} tokens" for model in loaded if model.context_length)
    on_gpu = any(model.size_vram_bytes for model in loaded)
    where = "as a whole in the GPU's memory" if on_gpu else "nowhere in a GPU's memory"
    return (
        answer("context", consistency.contexts(seats), ", ".join(lengths) or "the servers do not say"),
        answer("memory", consistency.places(seats), f"the model is {where}"),
    )


def _others(measurement: Measurement, seats: Sequence[Seat]) -> Answer:
    """Whether another client uses the servers, by incidents, loaded models and waiting times of agents alone."""
    problems = [said for cause, said, _ in facts_of(measurement) if cause == "another client"]
    problems += [
        f"instance {seat.instance.name} has loaded {some_of(seat.others)}, too" for seat in seats if seat.others
    ]
    waits = [
        sum(request.queue_ns for request in run.requests if believable(request)) / 1e6
        for round_ in measurement.rounds
        for run in round_.solo
    ]
    waited = f"; an agent alone waits {median(waits):.1f} ms" if waits else ""
    return answer("others", problems, f"no other model is loaded{waited}")


def _asked_ctx(measurement: Measurement) -> Mapping[str, int | None]:
    """The context that the agents of each instance ask for."""
    placed = enumerate(measurement.scenario.agents)
    return {measurement.topology.instance_of(at).name: agent.options.num_ctx for at, agent in placed}


def _names(instances: Sequence[Instance]) -> str:
    return " and ".join(instance.name for instance in instances)
