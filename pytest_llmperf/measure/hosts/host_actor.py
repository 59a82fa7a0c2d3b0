"""What runs on each host: clients in threads, with the same connections as here. This module does not import Ray."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest_llmperf
from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.measure.hosts.clock_probe import ClockServer
from pytest_llmperf.measure.hosts.host_turns import HostTurns
from pytest_llmperf.measure.runtimes.runtime import Clients, Part, Start
from pytest_llmperf.measure.runtimes.thread_runtime import perform
from pytest_llmperf.measure.wire.arrival import hold_kernel_time
from pytest_llmperf.model import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What a host runs.

    Attributes:
        python: its version.
        plugin: a digest of the plugin's source.
        kernel: name and release.
    """

    python: str
    plugin: str
    kernel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an actor has to do in a part.

    Attributes:
        part: its number; what comes late for an earlier part is ignored.
        clients: of this actor.
        numbers: of these clients in the part.
        places: requests of any actor that others wait for, with the clients' numbers in the part.
        listeners: for each place of this actor, the other actors whose clients wait for it.
        timeout_s: time limit for a request, s.
    """

    part: int
    clients: Clients
    numbers: Sequence[int]
    places: frozenset[Place]
    timeout_s: float
    listeners: Mapping[Place, Sequence[Any]] = field(default_factory=dict)


@cache
def facts_here() -> HostFacts:
    """The facts of the host on which this runs."""
    digest = hashlib.sha256()
    root = Path(pytest_llmperf.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return HostFacts(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        plugin=digest.hexdigest()[:12],
        kernel=f"{platform.system()} {platform.release()}",
    )


def check_versions(host: str, theirs: HostFacts, ours: HostFacts) -> None:
    """Raises UsageError if a host does not run the same Python and the same plugin."""
    for name, there, here in (("Python", theirs.python, ours.python), ("pytest-llmperf", theirs.plugin, ours.plugin)):
        if there != here:
            raise UsageError(
                f"{host} runs {name} {there}, and pytest runs {here}: their clients would not do the same",
                next_step=f"install the same {name} on all hosts of the cluster",
            )


class HostActor:
    """Runs clients of one host. Its methods are called by Ray, some while another one still runs.

    An expected error is returned, not raised: Ray would log it, with its whole trace.

    Args:
        address: of this host, on which it answers the probes of its clock; empty: nobody asks.
        key: of the probes.
    """

    def __init__(self, address: str, key: bytes) -> None:
        self._stamping = hold_kernel_time()
        self._clock = ClockServer(address, key) if address else None
        self._start: Start | None = None
        self._turns = HostTurns((), (), lambda _: None)
        self._part = 0

    def facts(self) -> HostFacts:
        """What this host runs."""
        return facts_here()

    def clock_port(self) -> int:
        """The port of its clock; 0: it has none."""
        return self._clock.address[1] if self._clock is not None else 0

    def prepare(self, order: Order) -> LlmperfError | None:
        """Opens the first connection of each client; returns what went wrong."""
        self._close()
        self._part = order.part

        def tell(place: Place) -> None:
            for actor in order.listeners.get(place, ()):
                actor.hear.remote(order.part, place)

        self._turns = HostTurns(order.places, order.numbers, tell)
        try:
            self._start = Start(order.clients, timeout_s=order.timeout_s, turns=self._turns)
        except LlmperfError as error:
            return error
        return None

    def perform(self, start_ns: int) -> Part | LlmperfError:
        """Runs the clients from a moment of this host's clock; returns what they did, or what went wrong."""
        assert self._start is not None
        try:
            return perform(self._start, told=lambda: start_ns)
        except LlmperfError as error:
            return error
        finally:
            self._close()

    def hear(self, part: int, place: Place) -> None:
        """Notes that a request of another actor has ended."""
        if part == self._part:
            self._turns.hear(place)

    def give_up(self, part: int) -> None:
        """Ends the clients of a part, because another actor's clients have failed."""
        if part == self._part and (start := self._start) is not None:
            start.abort()

    def _close(self) -> None:
        start, self._start = self._start, None
        if start is not None:
            start.close()
