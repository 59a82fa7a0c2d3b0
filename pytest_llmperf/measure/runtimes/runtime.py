"""The protocol of runtimes: each performs one part of a round, with all clients behind one barrier."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pytest_llmperf.measure.runtimes.turns import Turns, awaited
from pytest_llmperf.measure.waiting import apart
from pytest_llmperf.measure.wire.arrival import Clock, wall_offset_ns
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.measure.wire.prepared_request import Request
from pytest_llmperf.measure.wire.request_connection import Address, Connection
from pytest_llmperf.measure.wire.scheduling_lag import Pulse

Clients = Sequence[Sequence[Request]]
"""The requests of each client; a client sends its own one after the other, each when its step says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a round, as it happened on the wire.

    Attributes:
        start_ns: the moment the barrier opened.
        exchanges: the exchanges of each client, in the order sent.
        cpu_ns: CPU time of each process that did it, while it did.
        lag_ns: how late each client would have acted (see `scheduling_lag`).
        clock_bound_ns: how far times of different hosts may be off at most; None: all clients ran on one host.
    """

    start_ns: int
    exchanges: tuple[tuple[Exchange, ...], ...]
    cpu_ns: tuple[int, ...]
    lag_ns: tuple[int, ...]
    clock_bound_ns: int | None = None


class Runtime(Protocol):
    """A way to run several clients at once.

    Attributes:
        name: the name, as in `--llmperf-runtime`.
    """

    name: str

    def run(self, clients: Clients, *, timeout_s: float) -> Part:
        """Opens the first connection of each client, then the barrier, and returns when all have their answers.

        Raises:
            MeasurementError: a request failed; the others were given up.
        """
        ...

    def close(self) -> None:
        """Ends what the runtime keeps between parts; idempotent."""
        ...


_SPIN_NS = 300_000  # about how late a sleep may end


class Start:
    """The first connections of a part, opened but not yet used; then the barrier; finally the results.

    The caller's own thread sends the first request of every client, one right after the other: no client has to be
    woken first, so that all start within microseconds. It does not wait for any of them: if a socket does not take all
    bytes at once, its client sends the rest. A client whose first request waits for others connects when it is sent.

    Args:
        clients: see Clients.
        timeout_s: time limit for a request, s.
        turns: the turns of these clients; None makes them, for clients in threads.
        clock: monotonic nanoseconds.

    Attributes:
        connections: the connections of each client.
        turns: the given turns.
        pulse: the pulse, to be beaten in the thread of the clients.
        start_ns: when the barrier opened.
    """

    def __init__(
        self, clients: Clients, *, timeout_s: float, turns: Turns | None = None, clock: Clock = time.monotonic_ns
    ) -> None:
        self._clock = clock
        self.turns = turns or Turns(awaited(clients))
        self._before_ns = wall_offset_ns()
        self._addresses: dict[tuple[str, int], Address] = {}
        self.connections: list[list[Connection]] = []
        try:
            for requests in clients:
                self.connections.append([Connection(request, timeout_s=timeout_s, clock=clock) for request in requests])
                first = self.connections[-1][0]
                if not first.request.at_barrier:
                    continue
                address = apart(partial(first.open, self.address(first)), first.abort)
                self._addresses[first.request.host, first.request.port] = address
        except BaseException:
            self.close()
            raise
        self._cpu_ns = 0
        self.pulse = Pulse(clock)
        self.start_ns = 0

    def address(self, connection: Connection) -> Address | None:
        """The server's address, if a first connection has resolved it: no name is looked up while the clock runs."""
        return self._addresses.get((connection.request.host, connection.request.port))

    def barrier(self, at_ns: int = 0) -> None:
        """Starts the clock, now or at `at_ns` of the monotonic clock, and sends the first request of every client.

        Clients whose first request waits for other agents send nothing yet.
        """
        while (rest_ns := at_ns - self._clock()) > 0:
            if rest_ns > _SPIN_NS:
                time.sleep((rest_ns - _SPIN_NS) / 1e9)
        self.begin(at_ns)
        for first, *_ in self.connections:
            if first.request.at_barrier:
                first.send()
        self.pulse.start()

    def begin(self, at_ns: int = 0) -> None:
        """The clock starts, and nothing leaves yet."""
        self._cpu_ns = time.process_time_ns()
        self.start_ns = at_ns or self._clock()

    def finish(self, client: int, *, given_up: Callable[[], bool] = lambda: False) -> None:
        """The whole work of one client, which waits for its sockets; returns early if `given_up` does so."""
        for position in range(len(self.connections[client])):
            if given_up() or not self.step(client, position, given_up=given_up):
                return

    def step(self, client: int, position: int, *, given_up: Callable[[], bool] = lambda: False) -> bool:
        """One request of a client, from its turn until its tools have ended; False if the part was given up."""
        connection = self.connections[client][position]
        request = connection.request
        if not self.turns.wait(request.step):
            return False
        if position or not request.at_barrier:
            connection.open(self.address(connection))
        connection.block()
        if given_up():  # what `abort` did to a connection that was not there yet was nothing
            return False
        connection.send()
        while not connection.receive():
            pass
        connection.close()
        return self.turns.end((client, position), request.step)

    def part(self) -> Part:
        """The results, once every client has its answers."""
        cpu_ns, after_ns = time.process_time_ns() - self._cpu_ns, wall_offset_ns()
        return Part(
            start_ns=self.start_ns,
            exchanges=tuple(
                tuple(connection.exchange(self._before_ns, after_ns) for connection in client)
                for client in self.connections
            ),
            cpu_ns=(cpu_ns,),
            lag_ns=(self.pulse.lag_ns(),) * len(self.connections),
        )

    def abort(self) -> None:
        """Aborts every connection, which wakes every client that waits for one, and those that wait for their turn."""
        self.turns.give_up()
        for client in self.connections:
            for connection in client:
                connection.abort()

    def close(self) -> None:
        """Gives every socket back."""
        for client in self.connections:
            for connection in client:
                connection.close()
