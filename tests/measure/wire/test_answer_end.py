"""When an answer is over: as soon as HTTP says so, never before, whatever the server does with the connection."""

import socket
from collections.abc import Callable, Iterator
from random import Random

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmperf.measure.decoding.decode import decode
from pytest_llmperf.measure.runtimes import runtime_of
from pytest_llmperf.measure.wire.answer_end import Ending
from tests.fuzz import streams
from tests.measure import answers
from tests.measure.scripted import request_to, serving

RANDOMS = st.randoms(use_true_random=False)
MANY = settings(max_examples=50, suppress_health_check=[HealthCheck.large_base_example, HealthCheck.data_too_large])


def ended_at(pieces: list[bytes]) -> int | None:
    """The index of the piece that completes the answer; None if no piece does."""
    ending = Ending()
    return next((index for index, piece in enumerate(pieces) if piece and ending.add(piece)), None)


def truly_ended_at(pieces: list[bytes]) -> int | None:
    """The piece with which h11 has seen the end, or something that is no HTTP; None for never."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    for index, piece in enumerate(pieces):
        if not piece:
            continue
        try:
            connection.receive_data(piece)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.EndOfMessage):
                    return index
        except h11.RemoteProtocolError:
            return index
    return None


def cut(raw: bytes, size: int) -> list[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]


@MANY
@given(RANDOMS)
def test_whole_answers_end_with_the_piece_that_completes_them(rng: Random) -> None:
    """Chunks with extensions and trailers, lengths, interim answers, however they are cut; else with the connection."""
    made = streams.body(rng)
    raw, _ = streams.framed(rng, made.kind, made.data, delimited=made.delimited)
    pieces = streams.pieces_of(rng, raw)
    assert ended_at(pieces) == truly_ended_at(pieces)


@MANY
@given(RANDOMS)
def test_no_answer_ends_before_its_end(rng: Random) -> None:
    """Nothing of a damaged answer is cut off either: it ends where HTTP ends, or with the connection."""
    made = streams.body(rng)
    raw, _ = streams.framed(rng, made.kind, made.data)
    pieces = streams.pieces_of(rng, streams.damaged(rng, raw))
    ended, truly = ended_at(pieces), truly_ended_at(pieces)
    assert ended is None or (truly is not None and truly <= ended)


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n"
CASES = {
    "chunks": (HEAD + b"2\r\nab\r\n0\r\n\r\n", True),
    "no chunk": (HEAD + b"0\r\n\r\n", True),
    "zeros": (HEAD + b"2\r\nab\r\n0000\r\n\r\n", True),
    "an extension": (HEAD + b"2;x=y\r\nab\r\n0;x=y\r\n\r\n", True),
    "a trailer": (HEAD + b"2\r\nab\r\n0\r\nX: y\r\n\r\n", True),
    "content that looks like the end": (HEAD + b"9\r\nab\r\n0\r\n\r\n\r\n", False),
    "content that looks like the end, and the end": (HEAD + b"9\r\nab\r\n0\r\n\r\n\r\n0\r\n\r\n", True),
    "events that end in CRLF": (HEAD + 40 * b"b\r\ndata: x\r\n\r\n\r\n" + b"0\r\n\r\n", True),
    "the last line missing": (HEAD + b"2\r\nab\r\n0\r\n", False),
    "a size that is none": (HEAD + b"zz\r\nab\r\n0\r\n\r\n", False),
    "a length": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", True),
    "a length of nothing": (b"HTTP/1.1 308 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", True),
    "a length not reached": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", False),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab", False),
    "a length and chunks": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nab", False),
    "neither": (b"HTTP/1.1 200 OK\r\n\r\nab", False),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", True),
    "interim answers": (EARLY + EARLY + HEAD + b"2\r\nab\r\n0\r\n\r\n", True),
    "only an interim answer": (EARLY, False),
    "another protocol": (b"HTTP/1.1 101 Switching\r\nContent-Length: 0\r\n\r\n", False),
    "no HTTP": (b"SSH-2.0\r\n\r\n", False),
    "a head without an end": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", False),
    "lines that end in LF": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab", True),
}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 50_000])
@pytest.mark.parametrize(("raw", "ends"), CASES.values(), ids=CASES.keys())
def test_what_is_an_end(raw: bytes, ends: bool, size: int) -> None:
    """With the last byte, in pieces of any size; what is odd waits for the connection's end."""
    pieces = cut(raw, size)
    assert ended_at(pieces) == (len(pieces) - 1 if ends else None)


KEPT_OPEN = {
    **{name: answers.WHOLE[name] for name in ("ndjson_labelled_json", "done_twice", "no [DONE], with a length")},
    "a trailer": answers.http(answers.LINES, answers.NDJSON, end=False) + b"0\r\nX: y\r\n\r\n",
    "says that it will close": answers.http(answers.LINES, answers.NDJSON, extra=["Connection: close"]),
}


def in_turn(raw: bytes) -> Iterator[Callable[[socket.socket], None]]:
    """Ways to send it: at once, and byte by byte."""
    yield lambda sock: sock.sendall(raw)
    yield lambda sock: [sock.sendall(raw[at : at + 1]) for at in range(len(raw))] and None


@pytest.mark.parametrize("runtime", ["threads", "asyncio"])
@pytest.mark.parametrize("raw", KEPT_OPEN.values(), ids=KEPT_OPEN.keys())
def test_a_connection_that_stays_open_is_not_waited_for(raw: bytes, runtime: str) -> None:
    """The server goes on only once the client has hung up: a client that waited for it would wait for its time-out."""
    for send in in_turn(raw):

        def handler(sock: socket.socket, send: Callable[[socket.socket], None] = send) -> None:
            send(sock)
            assert sock.recv(1) == b""

        with serving(handler) as url:
            part = runtime_of(runtime).run([[request_to(url), request_to(url)]], timeout_s=60)
        for exchange in part.exchanges[0]:
            assert decode(exchange).text == "ab"
            assert exchange.ended_ns >= exchange.pieces[-1].arrival_ns
