"""The barrier in this process, by a clock that the test sets: who is waited for, and who has given up."""

import contextlib
import select
import socket
import struct
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from typing import Any

import pytest

from pytest_llmperf.measure.tap import tap_connection
from pytest_llmperf.measure.tap.http_exchanges import exchanges_of
from pytest_llmperf.measure.tap.proxy_process import GRACE_NS, Forwarder
from pytest_llmperf.measure.tap.recording import Capture
from pytest_llmperf.measure.wire.scheduling_lag import BEAT_NS

SECOND_NS = 1_000_000_000
TURNS = 200_000  # a loopback socket needs a handful; this many take seconds

REQUEST = b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
RESET = struct.pack("ii", 1, 0)


class Stage:
    """A tap for agents of one server, whose loop and clocks the test turns.

    Attributes:
        now_ns, cpu_ns: what its clocks show.
        told: what it told its parent, orders' answers apart.
    """

    def __init__(self, *, agents: int = 2, barrier: bool = True, awaited: tuple[int | None, ...] = (0, 1)) -> None:
        self.now_ns, self.cpu_ns = 100 * SECOND_NS, 0
        self.told: list[tuple[str, int]] = []
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self._sockets[0].setblocking(False)
        self._parent, child = Pipe()
        self._forwarder = Forwarder(child, clock=lambda: self.now_ns, cpu=lambda: self.cpu_ns)
        server = (socket.AF_INET, self._sockets[0].getsockname())
        self.ports: list[int] = self.ask("open", [server] * agents, 1_000_000, 100, barrier, awaited[:agents])

    def ask(self, *order: object) -> Any:
        """The answer to an order."""
        self._parent.send(order)
        answers: list[Any] = []
        self.until(lambda: bool(answers), seen=answers)
        return answers[0]

    def until(self, condition: Callable[[], bool], *, seen: list[Any] | None = None) -> None:
        for _ in range(TURNS):
            self._forwarder._step(0)
            while self._parent.poll():
                message = self._parent.recv()
                if isinstance(message, tuple) and not isinstance(message, Capture):
                    self.told.append(message)
                elif seen is not None:
                    seen.append(message)
            if condition():
                return
        pytest.fail("it never came")

    def turn(self, seconds: float = 0.0) -> None:
        """Time passes, and the loop does all that there is to do."""
        self.now_ns += round(seconds * SECOND_NS)
        for _ in range(20):
            self.until(lambda: True)

    def connect(self, agent: int) -> socket.socket:
        self._sockets.append(socket.create_connection(("127.0.0.1", self.ports[agent]), timeout=30))
        return self._sockets[-1]

    def asks(self, agent: int) -> socket.socket:
        """Connects and sends the agent's request; returns when the tap has it."""
        sock, before = self.connect(agent), self.noted(agent)
        sock.sendall(REQUEST)
        self.until(lambda: self.noted(agent) > before)
        return sock

    def noted(self, agent: int) -> int:
        return self._forwarder._agents[agent].tally.noted

    def given_up(self, agent: int) -> int:
        return len(self._forwarder._agents[agent].given_up)

    @property
    def released(self) -> bool:
        return ("released", 0) in self.told

    def accepted(self) -> list[socket.socket]:
        """Connections that have reached the server so far."""
        new = []
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._sockets[0].accept()
                sock.settimeout(30)
                new.append(sock)
        self._sockets += new
        return new

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._parent.close()
        self._forwarder.serve()  # ends, since its parent has


@pytest.fixture
def stage() -> Iterator[Stage]:
    with contextlib.closing(Stage()) as made:
        yield made


def closed(sock: socket.socket) -> None:
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def half_closed(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


LEAVING = pytest.mark.parametrize("leave", [closed, reset, half_closed])


def test_the_barrier_does_not_wait_for_those_that_come_later() -> None:
    """They connect when it is open, and are forwarded at once."""
    with contextlib.closing(Stage(awaited=(0, None))) as stage:
        stage.asks(0)
        stage.turn(1)
        assert stage.released
        stage.accepted()
        stage.asks(1)
        (server,) = stage.accepted()
        assert server.recv(len(REQUEST)) == REQUEST


def test_the_barrier_waits_for_one_agent_of_a_program() -> None:
    """Which of them asks first is up to the program; the agents of other programs are waited for as always."""
    with contextlib.closing(Stage(agents=3, awaited=(0, 0, 2))) as stage:
        stage.asks(1)
        stage.turn(60)
        assert not stage.released
        stage.asks(2)
        stage.turn(1)
        assert stage.released
        assert len(stage.accepted()) == 2
        stage.asks(0)
        (server,) = stage.accepted()
        assert server.recv(len(REQUEST)) == REQUEST


@LEAVING
def test_what_was_given_up_at_the_barrier_never_reaches_the_server(stage: Stage, leave) -> None:
    """An agent whose client gives up after a second and asks again: its last request only is sent, and counts."""
    for attempt in range(3):
        sock = stage.asks(0)
        stage.now_ns += SECOND_NS
        leave(sock)
        stage.until(lambda attempt=attempt: stage.given_up(0) > attempt)
    stage.asks(0)
    assert stage.accepted() == []
    stage.asks(1)
    stage.turn(1)
    stage.until(lambda: stage.released)
    servers = stage.accepted()
    assert len(servers) == 2
    for server in servers:
        assert server.recv(100) == REQUEST
        server.sendall(ANSWER)
    stage.turn(1)
    capture = stage.ask("take")
    assert [sum(bool(connection.given_up_ns) for connection in connections) for connections in capture.agents] == [3, 0]
    for connections in capture.agents:
        (asked,) = [
            http_exchange
            for connection in connections
            for http_exchange in exchanges_of(connection, capture, label="agent")
        ]
        assert capture.start_ns <= asked.exchange.sent_ns <= asked.exchange.pieces[0].arrival_ns
    waits = [(way.given_up_ns - way.first_ns) / SECOND_NS for way in capture.agents[0] if way.given_up_ns]
    assert waits == [1, 1, 1]


@LEAVING
def test_who_gives_up_in_the_grace_is_waited_for_again(stage: Stage, leave) -> None:
    """The servers have accepted, nothing was sent, and one agent is gone: the others go on waiting."""
    kept, left = stage.asks(0), stage.asks(1)
    stage.turn()
    stage.until(lambda: len(stage.accepted()) == 0)
    leave(left)
    stage.until(lambda: stage.given_up(1) == 1)
    stage.turn(60)
    assert not stage.released
    for server in stage.accepted():
        assert server.recv(1) == b""  # not connected any more, and nothing was sent
    stage.asks(1)
    stage.turn()
    stage.turn(GRACE_NS / SECOND_NS)
    stage.until(lambda: stage.released)
    assert [server.recv(100) for server in stage.accepted()] == [REQUEST] * 2
    assert kept.fileno() >= 0


@pytest.mark.skipif(not hasattr(select, "POLLRDHUP"), reason="the system does not tell")
@LEAVING
def test_an_end_behind_bytes_that_are_not_read_is_seen(stage: Stage, leave, monkeypatch: pytest.MonkeyPatch) -> None:
    """More was sent than the tap holds, and then the client left: it has given up as well."""
    monkeypatch.setattr(tap_connection, "HELD_BYTES", len(REQUEST))
    sock = stage.asks(0)
    sock.sendall(b"x" * 1000)
    stage.turn()
    assert stage.noted(0) < 1000
    leave(sock)
    stage.asks(1)
    stage.until(lambda: stage.given_up(0) == 1)
    stage.turn(60)
    assert not stage.released


def test_a_connection_without_a_request_is_nobody(stage: Stage) -> None:
    """Opened in advance, it is kept; closed again, it is forgotten. Neither opens the barrier."""
    idle = stage.connect(0)
    stage.connect(0).close()
    stage.asks(1)
    stage.turn(60)
    assert not stage.released
    assert stage.told == [("arrived", 1)]
    idle.sendall(REQUEST)
    stage.until(lambda: ("arrived", 0) in stage.told)
    stage.turn(1)
    stage.until(lambda: stage.released)


def test_without_a_barrier_all_pass_at_once() -> None:
    """In a run that is not timed, no agent waits for another; the tap still reports when each has connected."""
    with contextlib.closing(Stage(barrier=False)) as stage:
        stage.turn()
        assert stage.released
        stage.now_ns += SECOND_NS
        stage.asks(1)
        stage.turn()
        assert [server.recv(100) for server in stage.accepted()] == [REQUEST]
        stage.turn(4)
        capture = stage.ask("take")
        assert [[way.first_ns - capture.start_ns for way in ways] for ways in capture.agents] == [[], [SECOND_NS]]
        assert stage.told == [("released", 0), ("arrived", 1)]


def test_the_taps_time_counts_up_to_the_last_answer_only() -> None:
    """An agent that ends 4 s after its answer: what the tap used and how late it was meanwhile is not of the round."""
    with contextlib.closing(Stage(agents=1)) as stage:
        stage.asks(0)
        stage.turn()
        stage.turn(1)
        stage.until(lambda: stage.released)
        start_ns = stage.now_ns
        for _ in range(4):  # a beat is due every 50 ms; each is 2 ms late, 10 ms of work lie between two
            stage.now_ns += BEAT_NS + 2_000_000
            stage.cpu_ns += 10_000_000
            stage.turn()
        answered_ns = stage.now_ns
        for _ in range(60):  # then it is late, and works all the time
            stage.now_ns += BEAT_NS + 15_000_000
            stage.cpu_ns += BEAT_NS + 15_000_000
            stage.turn()
        capture = stage.ask("take")
    assert capture.start_ns == start_ns
    assert capture.cpu_ns(answered_ns) == 40_000_000
    assert capture.cpu_ns(answered_ns - 26_000_000) == 35_000_000
    assert capture.cpu_ns(start_ns) == 0
    assert capture.cpu_ns(stage.now_ns + SECOND_NS) == stage.cpu_ns
    assert capture.lag_ns(answered_ns) == 2_000_000
    assert capture.lag_ns(stage.now_ns) == 15_000_000
