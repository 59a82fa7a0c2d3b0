"""A topology whose servers are running."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from pytest_llmperf.errors import ServerError
from pytest_llmperf.model import Instance, Round, Topology
from pytest_llmperf.servers.backends.instance_checks import check_ours
from pytest_llmperf.servers.clients.openai_client import LACKS
from pytest_llmperf.servers.probes import consistency, distinctness
from pytest_llmperf.servers.probes.foreign_traffic import Traffic
from pytest_llmperf.servers.probes.restore import FoundServers

Check = Callable[[], None]
"""Raises ServerError if an instance is not alive."""


class OpenedTopology:
    """A topology in use.

    Attributes:
        topology: its running instances.
        pids: id of the first process of each started instance, by the instance's name.
        fired: returns the faults of the fault plan that have fired since it was opened, in words; empty without a plan.

    Args:
        topology: its running instances.
        stack: stops what was started.
        checks: one for each instance.
        pids: see the attribute.
        found_servers: the servers, if they were running before: others may use them, and two may be the same server.
        fired: see the attribute.
        notes: returns the notes for every measurement on it, once the model is loaded.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        stack: ExitStack,
        checks: tuple[Check, ...],
        pids: Mapping[str, int] | None = None,
        found_servers: FoundServers | None = None,
        fired: Callable[[], tuple[str, ...]] = tuple,
        notes: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self.topology = topology
        self.pids = pids or {}
        self.fired = fired
        self._found_servers = found_servers
        self._traffic = Traffic(topology) if found_servers is not None else None
        self._at_load: dict[str, str] = {}
        self._notes = notes
        self._stack = stack
        self._checks = checks

    def alive(self) -> None:
        """Checks every instance.

        Raises:
            ServerError: the instance in its `instance` is dead; with the end of its log if the plugin started it.
        """
        for instance, check in zip(self.topology.instances, self._checks, strict=True):
            try:
                check()
            except ServerError as error:
                error.instance = instance.name
                raise
        self.check_ours()

    def check_ours(self) -> tuple[str, ...]:
        """`check_ours` for the servers that were started."""
        return check_ours(self.topology, self.pids)

    def loaded(self, instance: Instance) -> None:
        """Notes when a running server will unload the model, right after it was loaded. Raises ServerError."""
        if self._traffic is not None and instance.api != "openai":
            self._at_load[instance.name] = distinctness.leaves_at(instance, self.topology.model)

    def settled(self, asked_ctx: Mapping[str, int | None]) -> tuple[str, ...]:
        """Notes about how the instances serve the model, once it is loaded everywhere.

        Args:
            asked_ctx: by instance, the context that its agents ask for; None = the server's default.

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
        # emulator instances are known to be on this machine
        return (*notes, *consistency.shared(seats)) if self.topology.backend in ("attach", "ollama") else notes

    def _told_apart(self) -> tuple[str, ...]:
        """Notes on whether running instances are different servers, and whether started ones are the plugin's."""
        if self._traffic is None:
            return self.check_ours()
        return distinctness.check(self.topology, self._at_load)

    def disturbed(self, round_: Round, *, keep_alive_s: float) -> tuple[str, ...]:
        """Signs that somebody else used these servers while this round ran, in words; see Traffic."""
        return self._traffic.seen(round_, keep_alive_s=keep_alive_s) if self._traffic is not None else ()

    def close(self, *, unloaded: bool = False) -> tuple[str, ...]:
        """Stops what was started, and leaves running servers as they were found; idempotent.

        Args:
            unloaded: the model was unloaded, and not loaded again.

        Returns:
            What could not be restored, in words; the measurements are valid nevertheless.

        Raises:
            ServerError: something that was started cannot be stopped; everything else is still tried.
        """
        found_servers, self._found_servers = self._found_servers, None
        try:
            return found_servers.put_back(unloaded=unloaded) if found_servers is not None else ()
        finally:
            self._stack.close()

    def __enter__(self) -> OpenedTopology:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
