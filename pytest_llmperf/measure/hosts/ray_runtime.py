"""The runtime `ray`: clients on the hosts of a cluster, behind one barrier, timed on one clock."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_llmperf.errors import LlmperfError, MeasurementError, UsageError, did_you_mean
from pytest_llmperf.measure.hosts.clock_offset import ClockLine, ClockOffset, line
from pytest_llmperf.measure.hosts.clock_probe import KEY_BYTES, ClockProber
from pytest_llmperf.measure.hosts.crews import Crew, merged, near_request, orders_of
from pytest_llmperf.measure.hosts.host_actor import HostFacts, check_versions, facts_here
from pytest_llmperf.measure.hosts.ray_cluster import Host, HostLostError, RayCluster
from pytest_llmperf.measure.hosts.ray_plan import OwnCluster, RayPlan
from pytest_llmperf.measure.runtimes import Clients, Part
from pytest_llmperf.measure.runtimes.process_runtime import limit_s
from pytest_llmperf.measure.wire.prepared_request import Request
from pytest_llmperf.measure.wire.request_connection import CONNECT_S

MOST_CLIENTS = 64
"""Clients of an actor; a host with more of them has several actors."""

LEAD_NS, LEAD_HOST_NS = 20_000_000, 3_000_000
"""How far ahead the barrier's moment is, and how much farther for each actor: a call of Ray takes about 1 ms."""

_START_S = 120.0  # for an actor's process, on a busy machine, with the plugin's code sent to it
_ESTIMATES = 4  # of a clock that are kept: two around a part, and two that tell its rate


class RayRuntime:
    """See Runtime. The cluster is connected, and actors are started, with the first part.

    Args:
        plan: where the clients run.
        cluster: connects to it.

    Attributes:
        lost: hosts that left the cluster.
    """

    name = "ray"

    def __init__(
        self, plan: RayPlan, *, cluster: Callable[[str, Callable[[], OwnCluster]], RayCluster] = RayCluster
    ) -> None:
        self.lost: tuple[str, ...] = ()
        self._plan = plan
        self._open = cluster
        self._cluster: RayCluster | None = None
        self._hosts: tuple[Host, ...] = ()
        self._actors: dict[tuple[str, int], Any] = {}
        self._probers: dict[str, ClockProber] = {}
        self._estimates: dict[str, list[ClockOffset]] = {}
        self._facts: dict[str, HostFacts] = {}
        self._key = secrets.token_bytes(KEY_BYTES)
        self._number = 0

    def run(self, clients: Clients, *, timeout_s: float) -> Part:
        """See Runtime.

        Raises:
            UsageError: no host has an agent's label, the hosts' versions differ, or a server's address is only known on
                this machine.
            ServerError: the cluster cannot be used.
        """
        try:
            crews = self._crews(clients)
            return self._run(crews, clients, timeout_s)
        except HostLostError as error:
            self._forget(error)
            raise
        except LlmperfError:
            raise
        except BaseException:
            self.close()  # an actor in the middle of a request can only be ended
            raise

    def facts(self) -> str:
        """What each host runs, in words; the same for hosts that are alike. Connects if need be."""
        self._connected()
        words = [f"{facts.python}, {facts.kernel}" for facts in (self._checked(host) for host in self._hosts)]
        return "; ".join(f"{words.count(each)} x {each}" for each in sorted(set(words)))

    def close(self) -> None:
        """Ends the actors, and the cluster if it was started here."""
        self._drop(lambda _: True)
        self._estimates.clear()
        self._facts.clear()
        self._hosts = ()
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    # --- hosts and actors ------------------------------------------------------------------------------------------

    def _connected(self) -> RayCluster:
        if self._cluster is None:
            self._cluster = self._open(self._plan.address, self._plan.start)
        if not self._hosts:
            self._hosts = self._cluster.hosts()
        return self._cluster

    def _crews(self, clients: Clients) -> list[Crew]:
        """The actors of a part with their clients: each agent is always on the same host."""
        cluster = self._connected()
        numbers: dict[Host, list[int]] = {}
        for number, (first, *_) in enumerate(clients):
            host = self._host_of(first, number)
            if not (cluster.own or host.here) and (near := near_request(clients[number])):
                raise UsageError(
                    f"{near.label}: its client runs on {host}, where {near.host} is that host itself",
                    next_step="give the servers' addresses in the cluster's network",
                )
            numbers.setdefault(host, []).append(number)
        return [
            Crew(host, self._actor(host, index // MOST_CLIENTS), tuple(own[index : index + MOST_CLIENTS]))
            for host, own in numbers.items()
            for index in range(0, len(own), MOST_CLIENTS)
        ]

    def _host_of(self, request: Request, number: int) -> Host:
        """The host of a client: by the label of its agent, else they take turns."""
        hosts = self._hosts
        if label := self._plan.labels.get(request.agent):
            key, _, value = label.partition("=")
            hosts = tuple(host for host in hosts if host.labels.get(key) == value)
            if not hosts:
                known = sorted({f"{key}={value}" for host in self._hosts for key, value in host.labels.items()})
                raise UsageError(
                    f"agent {request.agent}: no host of the cluster has the label {label}{did_you_mean(label, known)}",
                    next_step=f"start Ray there with --labels={label}, or change [hosts] in llmperf.toml",
                )
        return hosts[(request.seat if request.seat is not None else number) % len(hosts)]

    def _actor(self, host: Host, index: int) -> Any:
        if (host.node, index) not in self._actors:
            self._checked(host)
            if (host.node, index) not in self._actors:
                self._actors[host.node, index] = self._connected().actor(host, self._key)
        return self._actors[host.node, index]

    def _checked(self, host: Host) -> HostFacts:
        """The facts of a host, which must run what runs here; starts its first actor, and opens its clock."""
        if host.node in self._facts:
            return self._facts[host.node]
        cluster = self._connected()
        actor = self._actors.setdefault((host.node, 0), cluster.actor(host, self._key))
        calls = [(host, actor.facts.remote()), (host, actor.clock_port.remote())]
        facts: HostFacts
        facts, port = cluster.answers(calls, limit_s=_START_S)
        check_versions(str(host), facts, facts_here())
        if port:
            self._probers[host.node] = ClockProber((host.address, port), self._key)
        self._facts[host.node] = facts
        return facts

    def _forget(self, error: HostLostError) -> None:
        """What was known of a host that is gone; if only its process died, it gets a new one."""
        self._drop(lambda node: node == error.host.node)
        self._facts.pop(error.host.node, None)
        if not error.passing:
            self.lost = (*self.lost, str(error.args[0]))
            self._hosts = ()  # asked for again

    def _drop(self, chosen: Callable[[str], bool]) -> None:
        for node, index in [key for key in self._actors if chosen(key[0])]:
            actor = self._actors.pop((node, index))
            if self._cluster is not None:
                self._cluster.kill(actor)
        for node in [node for node in self._probers if chosen(node)]:
            self._probers.pop(node).close()

    # --- a part ----------------------------------------------------------------------------------------------------

    def _run(self, crews: Sequence[Crew], clients: Clients, timeout_s: float) -> Part:
        cluster = self._connected()
        self._number += 1
        orders = orders_of(self._number, crews, clients, timeout_s)
        opened = [(crew.host, crew.actor.prepare.remote(order)) for crew, order in zip(crews, orders, strict=True)]
        try:
            for error in filter(None, cluster.answers(opened, limit_s=_START_S + CONNECT_S)):
                raise error
            before = self._offsets(crews)
        except LlmperfError:
            self._give_up(crews)
            raise
        start_ns = time.monotonic_ns() + LEAD_NS + LEAD_HOST_NS * len(crews)
        told = [
            (crew.host, crew.actor.perform.remote(start_ns + (before[crew.host.node].offset_ns if before else 0)))
            for crew in crews
        ]
        parts = self._parts(crews, told, limit_s(clients, timeout_s))
        lines = self._lines(crews)
        return merged(crews, parts, lines, start_ns)

    def _parts(self, crews: Sequence[Crew], told: Sequence[tuple[Host, Any]], limit: float) -> list[Part]:
        """What each crew did. Raises the first error, once all have given up."""
        failures: list[LlmperfError] = []

        def look(answer: Any) -> None:
            if isinstance(answer, LlmperfError):
                if not failures:
                    self._give_up(crews)
                failures.append(answer)

        try:
            parts = self._connected().answers(told, limit_s=limit, each=look)
        except LlmperfError:
            self._give_up(crews)
            self._drop(lambda _: True)  # nobody knows what they are doing
            self._facts.clear()
            raise
        if failures:
            raise failures[0]
        return parts

    def _give_up(self, crews: Sequence[Crew]) -> None:
        for crew in crews:
            crew.actor.give_up.remote(self._number)

    # --- the clocks ------------------------------------------------------------------------------------------------

    def _offsets(self, crews: Sequence[Crew]) -> dict[str, ClockOffset]:
        """A new estimate of each host's clock, by node; none in a cluster of our own, which has one clock."""
        offsets = {}
        for crew in crews:
            if (prober := self._probers.get(crew.host.node)) is None or crew.host.node in offsets:
                continue
            with _named(crew.host):
                offsets[crew.host.node] = prober.estimate()
            known = self._estimates.setdefault(crew.host.node, [])
            known.append(offsets[crew.host.node])
            del known[:-_ESTIMATES]
        return offsets

    def _lines(self, crews: Sequence[Crew]) -> dict[str, ClockLine]:
        """Each host's clock during the part that has just ended, by node."""
        offsets, lines = self._offsets(crews), {}
        hosts = {crew.host.node: crew.host for crew in crews}
        for node in offsets:
            known = self._estimates[node]
            try:
                with _named(hosts[node]):
                    lines[node] = line(known)
            except MeasurementError:
                known.clear()
                raise
        return lines


@contextmanager
def _named(host: Host) -> Iterator[None]:
    """Errors in the block name the host, and may be temporary."""
    try:
        yield
    except MeasurementError as error:
        raise MeasurementError(f"{host}: {error.args[0]}", next_step=error.next_step, passing=True) from error
