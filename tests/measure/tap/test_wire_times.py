"""Every endpoint through the tap, on real sockets: each time is between the server's write and the agent's read."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.external_agents import run_tapped
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.model import RequestTiming
from tests.measure.scripted import serving
from tests.measure.tap.test_endpoints import EMBEDDINGS, STREAMS, WHOLE, Timed

PATIENCE_S = 30.0
CLOCK_ERROR_NS = 2_000_000
"""By which the kernel's receive times, which are of the wall clock, may miss the monotonic clock."""


class Moments(NamedTuple):
    """What the ends of a connection noted of the request and of each part of the answer, ns."""

    asked_ns: list[int]
    heard_ns: list[int]
    written_ns: list[int]
    read_ns: list[int]


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with contextlib.closing(Tap()) as made:
        yield made


def through(tap: Tap, path: str, parts: list[Timed], kind: str) -> tuple[RequestTiming, Moments]:
    """The answer in these parts: the server writes each when the agent has read the one before it."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for _, part in parts]  # type: ignore[arg-type]
    writes = [head.encode() + chunks[0], *chunks[1:-1], chunks[-1] + b"0\r\n\r\n"]
    if len(chunks) == 1:
        writes = [head.encode() + chunks[0] + b"0\r\n\r\n"]
    asked = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    moments, was_read = Moments([], [], [], []), threading.Semaphore(0)

    def answer(sock: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            if not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):  # the tap only looked whether somebody answers
                return
        moments.heard_ns.append(time.monotonic_ns())
        for data in writes:
            time.sleep(5 * CLOCK_ERROR_NS / 1e9)  # so that no moment can be taken for the one before it
            moments.written_ns.append(time.monotonic_ns())
            sock.sendall(data)
            assert was_read.acquire(timeout=PATIENCE_S)

    async def agent(url: str) -> None:
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        moments.asked_ns.append(time.monotonic_ns())
        writer.write(asked)
        for data in writes:
            assert await reader.readexactly(len(data)) == data
            moments.read_ns.append(time.monotonic_ns())
            was_read.release()
        writer.close()

    with serving(answer) as url:
        member = Member(label="agent a, instance a", url=url, run=agent)
        part = run_tapped([member], tap=tap, model="m", timeout_s=PATIENCE_S)
    (recording,) = part.recordings
    (request,) = recording.requests
    return request, moments


def assert_between(moment_ns: int, early_ns: int, late_ns: int) -> None:
    assert early_ns - CLOCK_ERROR_NS <= moment_ns <= late_ns + CLOCK_ERROR_NS


@pytest.mark.parametrize(("path", "parts", "ttft_ms", "thought_ms"), STREAMS.values(), ids=STREAMS.keys())
def test_a_stream(tap: Tap, path: str, parts: list[Timed], ttft_ms: float, thought_ms: float | None) -> None:
    """Sent, first content, end: TTFT and duration are differences of these; the counts are the server's."""
    request, moments = through(tap, path, parts, "text/event-stream")
    assert_between(request.sent_ns, moments.asked_ns[0], moments.heard_ns[0])
    first = [at_ms for at_ms, _ in parts].index(int(ttft_ms))
    assert_between(request.arrivals_ns[0], moments.written_ns[first], moments.read_ns[first])
    assert_between(request.done_ns, moments.written_ns[-1], moments.read_ns[-1])
    assert (request.endpoint, request.eval_count, request.prompt_eval_count) == (path, 4, 9)


@pytest.mark.parametrize(
    ("path", "answer", "tokens"),
    [
        *((path, answer, (9, 4)) for path, answer in WHOLE.values()),
        *((path, answer, (prompt, 0)) for path, answer, prompt in EMBEDDINGS.values()),
    ],
)
def test_an_answer_in_one_piece(tap: Tap, path: str, answer: dict[str, object], tokens: tuple[int, int]) -> None:
    """Sent and end; there is no first token."""
    request, moments = through(tap, path, [(0, json.dumps(answer).encode())], "application/json")
    assert_between(request.sent_ns, moments.asked_ns[0], moments.heard_ns[0])
    assert_between(request.done_ns, moments.written_ns[0], moments.read_ns[0])
    assert (request.endpoint, request.prompt_eval_count, request.eval_count) == (path, *tokens)
    assert not request.streamed
