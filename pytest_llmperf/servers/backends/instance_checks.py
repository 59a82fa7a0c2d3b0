"""Checks that an instance is alive, and that it is the started process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

import httpx

from pytest_llmperf.errors import ServerError
from pytest_llmperf.model import DIRECT, Access, Instance, Topology
from pytest_llmperf.net.port_owner import Owner, owner_of, told_ports
from pytest_llmperf.servers.clients.client_factory import client_of
from pytest_llmperf.servers.processes.server_process import ServerProcess, strange

_MOMENT_S = 1.0
"""How long to wait for a server that restarts its listener."""

_HIDDEN = "the system does not show which process owns the socket"


def check_ours(topology: Topology, pids: Mapping[str, int]) -> tuple[str, ...]:
    """Checks that every server that was started owns its socket: another process may answer in place of a dead server.

    Args:
        topology: its instances are checked.
        pids: leaders of the process groups that were started, by instance.

    Returns:
        A note that names the instances for which the system does not show it.

    Raises:
        ServerError: another process listens on an instance's port.
    """
    ours = [instance for instance in topology.instances if instance.name in pids]
    hidden = [instance.name for instance in ours if not _is_ours(instance, pids[instance.name])]
    if not hidden:
        return ()
    names = ", ".join(hidden)
    return (f"whether the server that answers is ours cannot be determined for instance {names}: {_HIDDEN}",)


def _is_ours(instance: Instance, group: int) -> bool:
    """Whether the system shows that a server's socket belongs to this process group; checks its runners', too.

    Raises:
        ServerError: a socket belongs to another process.
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
    """The check of a server that was started."""
    if not process.alive:
        raise process.died("while it was in use")


def check_url(instance: Instance) -> None:
    """The check of a server that was running before; if it does not listen, it may do so again in a moment."""
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
    """The instance at an address, with the version that it reports. Raises ServerError."""
    instance = Instance(name=name, url=url, slots=slots, access=access, api=api)
    with client_of(instance) as control:
        return replace(instance, version=control.version())
