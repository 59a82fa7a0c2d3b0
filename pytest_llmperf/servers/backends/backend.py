"""What every backend is, and what an opened topology is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from pytest_llmperf.errors import ServerError, UsageError
from pytest_llmperf.model import DIRECT, Access, Instance, Round, Topology, TopologyKind
from pytest_llmperf.net.port_owner import Owner, owner_of, told_ports
from pytest_llmperf.servers.clients.client_factory import client_of
from pytest_llmperf.servers.clients.openai_client import LACKS
from pytest_llmperf.servers.probes import consistency, distinctness
from pytest_llmperf.servers.probes.foreign_traffic import Traffic
from pytest_llmperf.servers.probes.restore import FoundServers
from pytest_llmperf.servers.processes.server_process import ServerProcess, strange

Check = Callable[[], None]
"""Raises ServerError when an instance is not alive."""

_MOMENT_S = 1.0
"""Most that a server which restarts its listener is waited for."""

_HIDDEN = "the system does not show whose its socket is"

Say = Callable[[str], None]
"""Is told what takes time, in words."""


class Opened:
    """A topology in use.

    Attributes:
        topology: its running instances.
        pids: of the first process of each instance that we started, by its name.
        fired: returns which faults of a fault plan have fired since it was opened, in words; nothing without a plan.

    Args:
        topology: its running instances.
        stack: ends what was started.
        checks: of each instance.
        pids: as above.
        found: the servers, where they were running before: then others may use them, too, and two may be one.
        fired: as above.
        notes: for the reader of every measurement on it, once the model is loaded.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        stack: ExitStack,
        checks: tuple[Check, ...],
        pids: Mapping[str, int] | None = None,
        found: FoundServers | None = None,
        fired: Callable[[], tuple[str, ...]] = tuple,
        notes: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self.topology = topology
        self.pids = pids or {}
        self.fired = fired
        self._found = found
        self._traffic = Traffic(topology) if found is not None else None
        self._at_load: dict[str, str] = {}
        self._notes = notes
        self._stack = stack
        self._checks = checks

    def alive(self) -> None:
        """Checks every instance.

        Raises:
            ServerError: one is dead, that of its `instance`; with the end of its log where it is ours.
        """
        for instance, check in zip(self.topology.instances, self._checks, strict=True):
            try:
                check()
            except ServerError as error:
                error.instance = instance.name
                raise
        self.check_ours()

    def check_ours(self) -> tuple[str, ...]:
        """See there; of what we have started."""
        return check_ours(self.topology, self.pids)

    def loaded(self, instance: Instance) -> None:
        """Notes what an instance that we found says right after the model was loaded there. Raises ServerError."""
        if self._traffic is not None and instance.api != "openai":
            self._at_load[instance.name] = distinctness.leaves_at(instance, self.topology.model)

    def settled(self, asked_ctx: Mapping[str, int | None]) -> tuple[str, ...]:
        """What a reader must know of how the model sits, once it is loaded everywhere.

        Args:
            asked_ctx: by instance, the context that its agents ask for; None = the server's own.

        Raises:
            ServerError: the instances do not serve the same model, or one does not answer.
            UsageError: addresses of different instances lead to one server, or one address to several.
        """
        if any(instance.api == "openai" for instance in self.topology.instances):
            return LACKS
        notes = self._notes() + self._told_apart()
        seats = consistency.look(self.topology, asked_ctx)
        notes += consistency.check(self.topology.model, seats)
        if self._traffic is not None:
            self._traffic.begin({seat.instance.name: seat.loaded.expires_at for seat in seats if seat.loaded})
        # of our own server everyone knows that its instances are on this machine
        return (*notes, *consistency.shared(seats)) if self.topology.backend in ("attach", "ollama") else notes

    def _told_apart(self) -> tuple[str, ...]:
        """Whether the instances are different servers, where we found them; ours, where we started them."""
        if self._traffic is None:
            return self.check_ours()
        return distinctness.check(self.topology, self._at_load)

    def disturbed(self, one: Round, *, keep_alive_s: float) -> tuple[str, ...]:
        """What tells that somebody else used these servers while this round ran, in words; see Traffic."""
        return self._traffic.seen(one, keep_alive_s=keep_alive_s) if self._traffic is not None else ()

    def close(self, *, unloaded: bool = False) -> tuple[str, ...]:
        """Ends what was started, leaves what was found as it was found; idempotent.

        Args:
            unloaded: the model was unloaded, and not loaded again.

        Returns:
            What could not be put back, in words: no reason to doubt what was measured.

        Raises:
            ServerError: something that we started cannot be ended; everything else is still tried.
        """
        found, self._found = self._found, None
        try:
            return found.put_back(unloaded=unloaded) if found is not None else ()
        finally:
            self._stack.close()

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Backend(Protocol):
    """A source of topologies.

    Attributes:
        kind: `attach`, `ollama`, `embedded` or `simulated`.
        reason: why it was chosen, in words.
        where: where its instances are or will be, in words.
        model: what they serve, in words.
        urls: addresses of running servers; none where it starts its own.
        passed_over: which running servers were found and are not measured, in words; else empty.
    """

    kind: str
    reason: str
    where: str
    model: str
    urls: tuple[str, ...]
    passed_over: str

    def check(self) -> None:
        """Looks for what the settings name, without starting or loading anything.

        Raises:
            ServerError: a server does not answer, or a model file is missing or none.
            UsageError: an address is none.
        """
        ...

    def open(self, kind: TopologyKind, agents: int) -> Opened:
        """Instances for so many agents.

        Raises:
            ServerError: an instance cannot be found, started or loaded.
            UsageError: the topology is impossible with this backend's settings.
        """
        ...


def instances_of(kind: TopologyKind, agents: int) -> tuple[int, int]:
    """Instances, and slots of each, that a topology of so many agents has.

    Raises:
        UsageError: no agents, or `dual` with more than two.
    """
    if agents < 1:
        raise UsageError(f"topology {kind}: wants one agent or more, got {agents}")
    if kind is TopologyKind.SINGLE:
        return 1, 1
    if kind is TopologyKind.SINGLE_PARALLEL:
        return 1, agents
    if kind is TopologyKind.DUAL:
        if agents > 2:
            raise UsageError(
                f"topology dual has two instances, the scenario has {agents} agents",
                next_step="use ollama_fleet: an instance for each agent",
            )
        return 2, 1
    return agents, 1


def instance_name(index: int) -> str:
    """`a`, `b`, ... `z`, `a1`, ..."""
    letter = chr(ord("a") + index % 26)
    return letter if index < 26 else f"{letter}{index // 26}"


def threads_each(wanted: int, instances: int) -> int:
    """CPU threads an instance: as set, else the cores that we may use, divided."""
    if wanted:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // instances)


def check_ours(topology: Topology, pids: Mapping[str, int]) -> tuple[str, ...]:
    """Checks that the sockets of servers that we started are theirs: another one may answer in a dead one's place.

    Args:
        topology: whose instances answer.
        pids: leaders of the process groups of those that we started, by instance.

    Returns:
        For which instances the system does not show that, in words.

    Raises:
        ServerError: another process listens on an instance's port.
    """
    ours = [instance for instance in topology.instances if instance.name in pids]
    hidden = [instance.name for instance in ours if not _is_ours(instance, pids[instance.name])]
    if not hidden:
        return ()
    return (f"whether the server that answers is ours cannot be determined of instance {', '.join(hidden)}: {_HIDDEN}",)


def _is_ours(instance: Instance, group: int) -> bool:
    """Whether the system shows that a server's socket, and those of its runners, are of this process group.

    Raises:
        ServerError: one is another process's.
    """
    port = urlsplit(instance.url).port or 0
    owners = {number: owner_of(number, group) for number in (port, *(told_ports(group) - {port}))}
    for number, owner in owners.items():
        if owner is Owner.STRANGER:
            error = strange(f"instance {instance.name} ({instance.url})", number)
            error.instance = instance.name
            raise error
    return owners[port] is not Owner.UNKNOWN


def check_process(process: ServerProcess) -> None:
    """The Check of a server that we started."""
    if not process.alive:
        raise process.died("while it was in use")


def check_url(instance: Instance) -> None:
    """The Check of a server that we found; one that does not listen may do so again in a moment."""
    until_s = time.monotonic() + _MOMENT_S
    while True:
        try:
            with client_of(instance) as control:
                control.version()
            return
        except ServerError as error:  # refused, or accepted and dropped
            if not isinstance(error.__cause__, httpx.TransportError) or time.monotonic() > until_s:
                raise
        time.sleep(0.05)


def describe(name: str, url: str, *, slots: int, access: Access = DIRECT, api: str = "ollama") -> Instance:
    """The instance at an address, with the version that it says. Raises ServerError."""
    instance = Instance(name=name, url=url, slots=slots, access=access, api=api)
    with client_of(instance) as control:
        return replace(instance, version=control.version())


def port_of(ports: tuple[int, ...], index: int, count: int) -> int:
    """The port set for an instance; 0 when none is set.

    Raises:
        UsageError: ports are set, but not enough, or one twice.
    """
    if not ports:
        return 0
    if len(ports) < count or len(set(ports[:count])) < count:
        raise UsageError(
            f"llmperf_ports has {', '.join(map(str, ports))}; {count} different ports are needed",
            next_step="give one for each instance, or none",
        )
    return ports[index]
