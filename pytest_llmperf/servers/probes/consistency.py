"""Checks that the instances of a topology serve the same model in the same way, once it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from pytest_llmperf.errors import ServerError
from pytest_llmperf.model import Instance, Topology
from pytest_llmperf.model.model_names import same_model
from pytest_llmperf.model.results.server_observations import Observed
from pytest_llmperf.programs import output_of
from pytest_llmperf.servers.addresses import address_of, is_loopback
from pytest_llmperf.servers.clients.client_factory import ollama_client_of
from pytest_llmperf.servers.clients.server_client import ModelEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """How an instance serves the model.

    Attributes:
        instance: the instance.
        digest: the digest of the model there; empty if the server does not report it.
        loaded: its entry among the loaded models; None if it is missing.
        asked_ctx: the context that its agents ask for, tokens; None = the server's default.
        others: names of the other models that are loaded there.
    """

    instance: Instance
    digest: str
    loaded: ModelEntry | None
    asked_ctx: int | None = None
    others: tuple[str, ...] = ()

    @property
    def spilled_bytes(self) -> int:
        """The part of the model outside the GPU's memory; 0 if nothing is on the GPU or it is unknown."""
        if self.loaded is None or not self.loaded.size_vram_bytes:
            return 0
        return max(0, self.loaded.size_bytes - self.loaded.size_vram_bytes)


def look(topology: Topology, asked_ctx: Mapping[str, int | None]) -> tuple[Seat, ...]:
    """Asks every instance how it serves the model.

    Args:
        topology: the topology with the model loaded.
        asked_ctx: by instance, the context that its agents ask for; see Seat.

    Raises:
        ServerError: one does not answer.
        ModelMissingError: one does not have the model any more.
    """
    seats = []
    for instance in topology.instances:
        with ollama_client_of(instance) as control:
            digest, loaded = control.find(topology.model).digest, control.ps()
        seats.append(
            Seat(
                instance=instance,
                digest=digest,
                loaded=next((entry for entry in loaded if same_model(entry.name, topology.model)), None),
                asked_ctx=asked_ctx.get(instance.name),
                others=tuple(entry.name for entry in loaded if not same_model(entry.name, topology.model)),
            )
        )
    return tuple(seats)


def check(model: str, seats: Sequence[Seat]) -> tuple[str, ...]:
    """Notes about how the instances serve the model; empty if all is as it should be.

    Raises:
        ServerError: the instances serve different models under one name.
    """
    if said := models(model, seats):
        step = f"ollama pull {model} on each of them, or name another with --llmperf-model"
        raise ServerError(said[0], next_step=step)
    return (*versions(seats), *contexts(seats), *places(seats))


def models(model: str, seats: Sequence[Seat]) -> list[str]:
    """A note if the instances serve different models under one name."""
    if len({seat.digest for seat in seats if seat.digest}) < 2:
        return []
    said = ", ".join(f"{seat.instance.name} has {seat.digest[:12] or 'none'}" for seat in seats)
    return [f"the instances serve different models under the name {model}: {said}"]


def versions(seats: Sequence[Seat]) -> list[str]:
    """A note if the servers have different versions."""
    if len({seat.instance.version for seat in seats}) < 2:
        return []
    said = ", ".join(f"{seat.instance.name} {seat.instance.version}" for seat in seats)
    return [f"{Observed.VERSIONS_DIFFER} ({said}), which may cause differences between agents"]


def contexts(seats: Sequence[Seat]) -> list[str]:
    """Notes if the model is not loaded, or has less context than requested or than on another instance."""
    notes = []
    for seat in seats:
        if seat.loaded is None:
            notes.append(f"instance {seat.instance.name} does not report the model as loaded")
        elif seat.asked_ctx and 0 < seat.loaded.context_length < seat.asked_ctx:
            notes.append(
                f"instance {seat.instance.name} {Observed.CONTEXT_IS_SMALL} {seat.loaded.context_length} tokens "
                f"instead of the requested {seat.asked_ctx}"
            )
    for first, second in combinations([seat for seat in seats if seat.loaded and seat.loaded.context_length], 2):
        assert first.loaded is not None
        assert second.loaded is not None
        mine, theirs = first.loaded.context_length, second.loaded.context_length
        if first.asked_ctx == second.asked_ctx and mine != theirs:
            notes.append(
                f"instances {first.instance.name} and {second.instance.name} {Observed.CONTEXTS_DIFFER}: "
                f"{mine} and {theirs} tokens (less memory was free for one of them)"
            )
    return notes


def places(seats: Sequence[Seat]) -> list[str]:
    """Notes if the model is partly outside the GPU's memory, or on the GPU on some instances only."""
    notes = []
    for seat in seats:
        if seat.spilled_bytes and seat.loaded is not None:
            share = 100 * seat.spilled_bytes / seat.loaded.size_bytes
            notes.append(
                f"instance {seat.instance.name}: {share:.0f} % of the model ({_gib(seat.spilled_bytes)}) is "
                f"{Observed.SPILLED} and runs on the CPU: free GPU memory, or use a smaller num_ctx"
            )
    known = [seat for seat in seats if seat.loaded is not None and seat.loaded.size_vram_bytes is not None]
    on_gpu = [seat.instance.name for seat in known if seat.loaded and seat.loaded.size_vram_bytes]
    on_cpu = [seat.instance.name for seat in known if seat.loaded and not seat.loaded.size_vram_bytes]
    if on_gpu and on_cpu:
        notes.append(
            f"the model is in the GPU's memory on instance {', '.join(on_gpu)}, but not on instance "
            f"{', '.join(on_cpu)}: {Observed.UNEQUAL_PLACES}"
        )
    return notes


def shared(seats: Sequence[Seat], *, gpus: Callable[[], int] | None = None) -> tuple[str, ...]:
    """Notes about what instances on one machine share.

    Args:
        seats: the seats of the instances.
        gpus: counts the GPUs of this machine; for tests.
    """
    notes = []
    hosts: dict[str, list[Seat]] = {}
    for seat in seats:
        host, _ = address_of(seat.instance.url)
        hosts.setdefault("this machine" if is_loopback(host) else host, []).append(seat)
    for host, there in hosts.items():
        if len(there) < 2:
            continue
        names = " and ".join(seat.instance.name for seat in there)
        on_gpu = all(seat.loaded is not None and seat.loaded.size_vram_bytes for seat in there)
        if not on_gpu:
            notes.append(f"instances {names} share the CPU of {host}")
        elif host != "this machine":
            notes.append(f"instances {names} are on {host}, whose GPUs they may share")
        elif (gpus or _count_gpus)() == 1:
            notes.append(f"instances {names} share the GPU of {host}")
    return tuple(notes)


def _count_gpus() -> int:
    """The number of GPUs that `nvidia-smi` lists; 0 if there is none, or no such command."""
    listed = output_of("nvidia-smi", "-L") or ""
    return sum(line.startswith("GPU ") for line in listed.splitlines())


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
