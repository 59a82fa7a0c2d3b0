"""Marks at the tap: answered there, forwarded to nobody, and no request of the agent."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from pytest_llmperf.measure.tap.http_exchanges import exchanges_of
from pytest_llmperf.measure.tap.marks import MarkReader
from tests.measure.tap.test_barrier import ANSWER, REQUEST, SECOND_NS, Stage

ANSWERED = b"HTTP/1.1 204 No Content\r\n\r\n"
CLOSED = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


def mark(kind: str, *headers: str, path: str = "") -> bytes:
    lines = [f"POST {path}/llmperf/{kind} HTTP/1.1", "Host: x", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with contextlib.closing(Stage()) as made:
        yield made


@pytest.fixture
def reader() -> Iterator[tuple[MarkReader, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    with ours, theirs:
        yield MarkReader(ours), theirs


def kinds(connections: tuple) -> list[str]:
    return [noted.kind for connection in connections for noted in connection.marks]


@pytest.mark.parametrize("headers", [("Connection: close", "Content-Length: 0"), ("Content-Length: 0",), ()])
def test_a_mark_opens_no_barrier(stage: Stage, headers: tuple[str, ...]) -> None:
    """Nor does the server hear of it, nor is the agent there before its first request."""
    marking = stage.connect(0)
    marking.sendall(mark("begin", *headers))
    expected = CLOSED if headers[:1] == ("Connection: close",) else ANSWERED
    stage.until(lambda: stage.noted(0) > 0)
    assert marking.recv(1000) == expected
    stage.asks(1)
    stage.turn(60)
    assert not stage.released
    assert stage.told == [("arrived", 1)]
    assert stage.accepted() == []
    marking.close()
    stage.asks(0)
    stage.turn(1)
    stage.until(lambda: stage.released)
    stage.turn(1)
    assert [server.recv(len(REQUEST)) for server in stage.accepted()] == [REQUEST] * 2
    capture = stage.ask("take")
    assert [kinds(connections) for connections in capture.agents] == [["begin"], []]
    firsts = [connection.first_ns for connection in capture.agents[0] if connection.first_ns]
    assert firsts == [capture.start_ns - SECOND_NS]


def test_marks_on_the_connection_of_the_requests(stage: Stage) -> None:
    """A client that keeps its connection sends them there: before, between and after its requests."""
    sock = stage.connect(0)
    sock.sendall(mark("begin"))
    stage.until(lambda: stage.noted(0) > 0)
    assert sock.recv(1000) == ANSWERED
    sock.sendall(REQUEST)
    stage.asks(1)
    stage.turn(1)
    stage.until(lambda: stage.released)
    server, second = stage.accepted()
    assert [each.recv(len(REQUEST)) for each in (server, second)] == [REQUEST] * 2
    server.sendall(ANSWER)
    stage.turn(1)
    server.setblocking(False)
    sock.settimeout(30)
    assert sock.recv(1000) == ANSWER
    sock.sendall(mark("end"))
    stage.turn(1)
    assert sock.recv(1000) == ANSWERED
    with pytest.raises(BlockingIOError):
        server.recv(1)
    capture = stage.ask("take")
    ((connection, *_), _) = capture.agents
    assert kinds((connection,)) == ["begin", "end"]
    assert connection.marks[0].read_ns < capture.start_ns < connection.marks[1].read_ns
    assert [exchange.path for exchange in exchanges_of(connection, capture, label="agent")] == ["/api/generate"]


def test_a_mark_whose_client_left_at_once_counts(stage: Stage) -> None:
    """Its bytes and its end are there together when the tap looks."""
    sock = stage.connect(0)
    sock.sendall(mark("begin", "Connection: close"))
    sock.shutdown(socket.SHUT_WR)
    stage.turn(1)
    assert sock.recv(1000) == CLOSED
    assert kinds(stage.ask("take").agents[0]) == ["begin"]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("path", ["", "/ollama/v1"])
def test_a_mark_in_pieces(reader: tuple[MarkReader, socket.socket], size: int, path: str) -> None:
    """Behind any base path; what follows it is passed on."""
    marks, client = reader
    sent, passed = mark("begin", path=path) + mark("end", path=path) + REQUEST, b""
    for at in range(0, len(sent), size):
        passed += marks.feed(sent[at : at + size], at, ())
        if passed:
            passed += sent[at + size :]
            break
    assert passed == REQUEST
    assert [noted.kind for noted in marks.marks] == ["begin", "end"]
    assert not marks.closed
    assert client.recv(1000) == ANSWERED * 2


@pytest.mark.parametrize(
    "sent",
    [
        REQUEST,
        b"GET /llmperf/begin HTTP/1.1\r\n\r\n",
        b"POST /llmperf/beginning HTTP/1.1\r\n\r\n",
        b"POST /llmperf/other HTTP/1.1\r\n\r\n",
        b"PUT /x HTTP/1.1\r\n\r\n",
        b"\x16\x03",
        b"POST /" + b"x" * 9000,
    ],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_all_else_passes(reader: tuple[MarkReader, socket.socket], sent: bytes, size: int) -> None:
    """Unaltered, however it is cut."""
    marks, _ = reader
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert b"".join(marks.feed(piece, 0, ()) for piece in (*pieces, b"")) == sent
    assert marks.marks == ()


@pytest.mark.parametrize("header", ["Content-Length: 2", "Transfer-Encoding: chunked", "Connection: close"])
def test_the_last_mark_of_a_connection(reader: tuple[MarkReader, socket.socket], header: str) -> None:
    """One with a body is answered at once and ends the connection, so that its body is no request."""
    marks, client = reader
    assert marks.feed(mark("end", header) + b"{}", 7, ()) == b""
    assert marks.feed(b"more", 8, ()) == b""
    assert marks.closed
    assert [tuple(noted) for noted in marks.marks] == [("end", 7, ())]
    assert client.recv(1000) == CLOSED
    assert client.recv(1000) == b""
