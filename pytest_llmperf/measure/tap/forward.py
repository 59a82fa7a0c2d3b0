"""The tap's own process: one loop that forwards bytes and notes them, and holds agents back until all are there.

A loop and not threads, for three reasons: the barrier lets every agent go from one place, one right after the other
(no thread has to be woken first); a new connection has no thread to wait for; and ends and resets, which concern both
directions of a connection, need no locks.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection as Channel
from typing import Any

from pytest_llmperf.measure.arrival import Clock, wall_offset_ns
from pytest_llmperf.measure.pulse import Pulse
from pytest_llmperf.measure.tap.carried import Taken
from pytest_llmperf.measure.tap.connection import Connection, Tally

GRACE_NS = 5_000_000
"""From the moment when every agent has sent its first bytes to the barrier, at least: the rest of their requests comes
in, and their connections to the servers come about."""

DRAIN_NS = 50_000_000
"""How long what is on its way may still arrive when a part is over."""

_WARM_S = 0.0005
"""How often it wakes while agents run: what has not run for a millisecond is slow to begin (caches, clocks, cores).
Takes some 5 % of a core, and half off the delay of the slowest chunks (`benchmarks.tap_cost`)."""

_LOOK_S = 1.0  # how often it looks whether its parent lives, beside noticing that their channel has ended


class Agent:
    """One agent's address, its server, and the connections made so far.

    Args:
        family, address: of the server.
        piece: see Tally.
    """

    def __init__(self, family: int, address: Any, piece: int) -> None:
        self.server = family, address
        self.tally = Tally(piece)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.listener.setblocking(False)
        self.connections: list[Connection] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self.listener.getsockname()[1]
        return port


class Forwarder:
    """Does what the parent orders over the channel.

    `("open", servers, limit, piece)` begins a part and answers with the ports; `("guard", group)` names a process group
    that must not outlive the parent; `("take",)` ends the part and answers with a Taken. By itself it tells
    `("released", 0)` when the barrier has opened, and `("full", agent)` when an agent's notes exceed the limit.

    Args:
        channel: to the parent.
        clock: monotonic nanoseconds.
    """

    def __init__(self, channel: Channel, *, clock: Clock = time.monotonic_ns) -> None:
        self._channel = channel
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._agents: list[Agent] = []
        self._groups: list[int] = []
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
            for group in self._groups:
                with contextlib.suppress(OSError):
                    os.killpg(group, signal.SIGKILL)
            self._end()
            self._selector.close()

    def _wait_s(self) -> float:
        if self._release_ns and not self._start_ns:
            return max(_WARM_S, (self._release_ns - self._clock()) / 1e9)
        return _WARM_S if self._start_ns else _LOOK_S

    def _step(self, wait_s: float) -> bool:
        """Does what can be done now, after waiting at most so long for it; whether there was anything."""
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
        if not self._start_ns:
            self._barrier()
        elif self._clock() >= self._pulse.due_ns:
            self._pulse.beat()
        return bool(ready)

    def _give_up(self, tally: Tally) -> None:
        """What passes for one agent fills the memory: it is told, and gets no further."""
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
        connection = Connection(client, selector=self._selector, tally=agent.tally, clock=self._clock)
        agent.connections.append(connection)
        if self._release_ns:
            connection.connect(*agent.server)
        if self._start_ns:
            connection.release()

    def _barrier(self) -> None:
        """Lets all go once every agent has sent something, its servers have accepted it, and a moment has passed."""
        if not self._release_ns:
            if self._agents and all(agent.tally.noted for agent in self._agents):
                self._release_ns = self._clock() + GRACE_NS
                for agent in self._agents:
                    for connection in agent.connections:
                        connection.connect(*agent.server)
        elif self._clock() >= self._release_ns and not any(
            connection.connecting for agent in self._agents for connection in agent.connections
        ):
            self._cpu_ns = time.process_time_ns()
            self._start_ns = self._clock()
            for agent in self._agents:
                for connection in agent.connections:
                    connection.release()
            self._pulse.start()
            self._channel.send(("released", 0))

    def _obey(self, order: str, *arguments: Any) -> None:
        if order == "open":
            self._open(*arguments)
            self._channel.send([agent.port for agent in self._agents])
        elif order == "guard":
            self._groups += arguments
        else:
            self._channel.send(self._take())

    def _open(self, servers: Sequence[tuple[int, Any]], limit: int, piece: int) -> None:
        self._end()
        self._limit = limit
        self._start_ns = self._release_ns = self._cpu_ns = 0
        self._before_ns = wall_offset_ns()
        for family, address in servers:
            self._agents.append(Agent(family, address, piece))
            self._selector.register(self._agents[-1].listener, selectors.EVENT_READ, self._agents[-1])

    def _take(self) -> Taken:
        """Ends the part, once nothing is on its way any more."""
        until_ns = self._clock() + DRAIN_NS
        while self._clock() < until_ns:
            ready = [one for one in self._selector.select(0) if isinstance(one[0].data, Connection)]
            if not ready:
                break
            for key, events in ready:
                key.data.ready(key.fileobj, events)
        if self._start_ns:
            self._pulse.beat()
        end_ns, cpu_ns = self._clock(), time.process_time_ns() - self._cpu_ns
        agents = tuple(tuple(one.carried() for one in agent.connections) for agent in self._agents)
        taken = Taken(self._start_ns, end_ns, self._before_ns, wall_offset_ns(), cpu_ns, self._pulse.lag_ns(), agents)
        self._end()
        return taken

    def _end(self) -> None:
        """Closes everything of a part."""
        for agent in self._agents:
            self._selector.unregister(agent.listener)
            agent.listener.close()
            for connection in agent.connections:
                connection.abort()
        self._agents.clear()
        self._groups.clear()
