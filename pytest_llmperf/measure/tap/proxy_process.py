"""The tap's own process: one loop that forwards bytes and notes them, and holds agents back until all are there.

A loop and not threads, for three reasons: the barrier lets every agent go from one place, one right after the other
(no thread has to be woken first); a new connection has no thread to wait for; and ends and resets, which concern both
directions of a connection, need no locks.
"""

from __future__ import annotations

import os
import select
import selectors
import socket
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection as Channel
from typing import Any

from pytest_llmperf.measure.tap.direction import Tally
from pytest_llmperf.measure.tap.recording import Capture, CapturedConnection, CpuReading
from pytest_llmperf.measure.tap.tap_connection import Connection
from pytest_llmperf.measure.tap.upstream import Upstream
from pytest_llmperf.measure.wire.arrival import Clock, wall_offset_ns
from pytest_llmperf.measure.wire.scheduling_lag import Pulse

GRACE_NS = 5_000_000
"""From the moment when every agent has sent its first bytes to the barrier, at least: the rest of their requests comes
in, and their connections to the servers come about."""

DRAIN_NS = 50_000_000
"""How long bytes on their way may still arrive when a part is over."""

_WARM_S = 0.0005
"""How often it wakes while agents run: what has not run for a millisecond is slow to begin (caches, clocks, cores).
Takes some 5 % of a core, and half off the delay of the slowest chunks (`benchmarks.tap_cost`)."""

_LOOK_S = 1.0  # how often it looks whether its parent lives, beside noticing that their channel has ended


class Agent:
    """One agent's address, its server, and the connections made so far.

    Args:
        upstream: the agent's server.
        piece: see Tally.
        awaited: the barrier waits for one agent of each number; None: not for this one.

    Attributes:
        awaited: the given value.
        connections: the connections that the agent made, in order, without `given_up`.
        given_up: the connections that the agent closed before the barrier opened.
        arrived: whether the parent knows that the agent has sent something.
    """

    def __init__(self, upstream: Upstream, piece: int, *, awaited: int | None) -> None:
        self.upstream = upstream
        self.awaited = awaited
        self.tally = Tally(piece)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.listener.setblocking(False)
        self.connections: list[Connection] = []
        self.given_up: list[CapturedConnection] = []
        self.arrived = False

    def waits(self) -> bool:
        """Looks whether it has asked for something and still waits for it; what it gave up is put aside."""
        waiting = [connection.waits() for connection in self.connections]
        self.given_up += [connection.capture() for connection in self.connections if connection.given_up_ns]
        self.connections = [connection for connection in self.connections if not connection.given_up_ns]
        return any(waiting)

    @property
    def port(self) -> int:
        """The port on which it listens."""
        port: int = self.listener.getsockname()[1]
        return port


class Forwarder:
    """Does what the parent orders over the channel.

    `("open", servers, limit, piece, barrier, awaited)` begins a part, with or without a barrier, which waits for one
    agent of each number in `awaited`, and answers with the ports; `("take",)` ends the part and answers with a
    Capture. By itself it tells `("arrived", agent)` when an agent has sent its first bytes, `("released", 0)` when the
    barrier has opened, and `("full", agent)` when an agent's notes exceed the limit.

    Args:
        channel: the channel to the parent.
        clock: monotonic nanoseconds.
        cpu: CPU time of this process, nanoseconds.
    """

    def __init__(
        self, channel: Channel, *, clock: Clock = time.monotonic_ns, cpu: Clock = time.process_time_ns
    ) -> None:
        self._channel = channel
        self._clock, self._cpu = clock, cpu
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._agents: list[Agent] = []
        self._awaited = 0  # agents that have sent nothing yet
        self._used: list[CpuReading] = []
        self._limit = 0
        self._pulse = Pulse(clock)
        self._start_ns = self._release_ns = self._before_ns = self._cpu_ns = 0
        self._parent = os.getppid()

    def serve(self) -> None:
        """Until the parent is gone or closes the channel."""
        try:
            while self._step(self._wait_s()) or os.getppid() == self._parent:
                pass
        except (EOFError, OSError):
            pass
        finally:
            self._end()
            self._selector.close()

    def _wait_s(self) -> float:
        if self._release_ns and not self._start_ns:
            return max(_WARM_S, (self._release_ns - self._clock()) / 1e9)
        return _WARM_S if self._start_ns else _LOOK_S

    def _step(self, wait_s: float) -> bool:
        """Does all work that is ready within `wait_s` seconds; returns whether there was any."""
        if self._start_ns:  # by `select`, whose time is finer than the millisecond of epoll
            select.select([self._selector.fileno()], [], [], wait_s)
            wait_s = 0
        ready = self._selector.select(wait_s)
        for key, events in ready:
            if isinstance(key.data, Connection):
                key.data.ready(key.fileobj, events)  # type: ignore[arg-type]
                if key.data.tally.noted > self._limit:
                    self._give_up(key.data.tally)
            elif isinstance(key.data, Agent):
                self._accept(key.data)
            else:
                self._obey(*self._channel.recv())
        if self._awaited:
            self._tell_arrivals()
        if not self._start_ns:
            self._barrier()
        elif self._clock() >= self._pulse.due_ns:
            self._beat()
        return bool(ready)

    def _tell_arrivals(self) -> None:
        for index, agent in enumerate(self._agents):
            if not agent.arrived and any(connection.first_ns for connection in agent.connections):
                agent.arrived = True
                self._awaited -= 1
                self._channel.send(("arrived", index))

    def _beat(self) -> None:
        self._pulse.beat()
        self._used.append(CpuReading(self._clock(), self._cpu() - self._cpu_ns))

    def _give_up(self, tally: Tally) -> None:
        """One agent's bytes exceed the limit: tells the parent, and aborts the agent's connections."""
        tally.noted = 0
        for index, agent in enumerate(self._agents):
            if agent.tally is tally:
                self._channel.send(("full", index))
                for connection in agent.connections:
                    connection.abort()

    def _accept(self, agent: Agent) -> None:
        try:
            client, _ = agent.listener.accept()
        except BlockingIOError:
            return  # gone again
        except OSError:
            time.sleep(_WARM_S)  # no descriptor left: not to be tried without a pause
            return
        connection = Connection(
            client, upstream=agent.upstream, selector=self._selector, tally=agent.tally, clock=self._clock
        )
        agent.connections.append(connection)
        if self._release_ns:
            connection.connect()
        if self._start_ns:
            connection.release()

    def _barrier(self) -> None:
        """Lets all go once every agent has sent something, its servers have accepted it, and a moment has passed.

        An agent that gives up meanwhile has sent nothing, as if it had never been there: all wait for it again.
        """
        connections = [connection for agent in self._agents for connection in agent.connections]
        waiting: dict[int, bool] = {}
        for agent in self._agents:
            if agent.awaited is not None:
                waiting[agent.awaited] = agent.waits() or waiting.get(agent.awaited, False)
        if not waiting or not all(waiting.values()):
            if self._release_ns:
                self._release_ns = 0
                for connection in connections:
                    connection.disconnect()
        elif not self._release_ns:
            self._release_ns = self._clock() + GRACE_NS
            for agent in self._agents:
                for connection in agent.connections:
                    connection.connect()
        elif self._clock() >= self._release_ns and not any(connection.connecting for connection in connections):
            self._start()
            for agent in self._agents:
                for connection in agent.connections:
                    connection.release()
            self._pulse.start()
            self._channel.send(("released", 0))

    def _start(self) -> None:
        self._cpu_ns = self._cpu()
        self._start_ns = self._clock()
        self._used = [CpuReading(self._start_ns, 0)]

    def _obey(self, order: str, *arguments: Any) -> None:
        if order == "open":
            self._open(*arguments)
            self._channel.send([agent.port for agent in self._agents])
            if self._start_ns:
                self._channel.send(("released", 0))
        else:
            self._channel.send(self._take())

    def _open(
        self, servers: Sequence[tuple[Any, ...]], limit: int, piece: int, barrier: bool, awaited: Sequence[int | None]
    ) -> None:
        self._end()
        self._limit, self._awaited = limit, len(servers)
        self._start_ns = self._release_ns = self._cpu_ns = 0
        self._before_ns = wall_offset_ns()
        for server, number in zip(servers, awaited, strict=True):
            self._agents.append(Agent(Upstream(*server), piece, awaited=number))
            self._selector.register(self._agents[-1].listener, selectors.EVENT_READ, self._agents[-1])
        if not barrier:
            self._start()
            self._release_ns = self._start_ns
            self._pulse.start()

    def _take(self) -> Capture:
        """Ends the part, once nothing is on its way any more."""
        until_ns = self._clock() + DRAIN_NS
        while self._clock() < until_ns:
            ready = [event for event in self._selector.select(0) if isinstance(event[0].data, Connection)]
            if not ready:
                break
            for key, events in ready:
                key.data.ready(key.fileobj, events)
        if self._start_ns:
            self._beat()
        capture = Capture(
            start_ns=self._start_ns,
            end_ns=self._clock(),
            before_ns=self._before_ns,
            after_ns=wall_offset_ns(),
            agents=tuple(
                (*agent.given_up, *(connection.capture() for connection in agent.connections)) for agent in self._agents
            ),
            used=tuple(self._used),
            beats=self._pulse.beats(),
        )
        self._end()
        return capture

    def _end(self) -> None:
        """Closes everything of a part."""
        for agent in self._agents:
            self._selector.unregister(agent.listener)
            agent.listener.close()
            for connection in agent.connections:
                connection.abort()
        self._agents.clear()
        self._used.clear()
