"""From raw bytes to a RequestTiming, after the clock has stopped: HTTP framing by h11, then lines of JSON.

A line has arrived when its last byte has. Lines whose last bytes were read at once have one arrival between them, which
is exact for the last of them and late for the others; these are counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import h11

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.wire import Exchange
from pytest_llmperf.model import RequestTiming

_DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
_COUNTS = ("eval_count", "prompt_eval_count")


def decode(exchange: Exchange) -> RequestTiming:
    """Reads one streamed answer of `/api/generate` or `/api/chat`.

    Raises:
        MeasurementError: not HTTP, a status other than 200, a line that is no JSON object, an `error` line,
            or an end without `done`; `received` holds the bytes.
    """
    pieces: list[int] = []
    texts: list[str] = []
    for piece, line in _lines(exchange):
        chunk = _parsed(exchange, line)
        text = _text(chunk)
        if text:
            pieces.append(piece)
            texts.append(text)
        if chunk.get("done"):
            arrivals_ns = [exchange.pieces[one].arrival_ns for one in pieces]
            waited = [one == following for one, following in pairwise([*pieces, -1 if text else piece])]
            return RequestTiming(
                sent_ns=exchange.sent_ns,
                done_ns=exchange.pieces[piece].arrival_ns,
                arrivals_ns=tuple(arrivals_ns),
                merged=sum(waited),
                first_merged=bool(waited) and waited[0],
                done_reason=str(chunk.get("done_reason", "")),
                text="".join(texts),
                **{name: _whole(exchange, chunk, name) for name in _COUNTS},
                **{f"{name}_ns": _whole(exchange, chunk, name) for name in _DURATIONS},
            )
    raise _failure(
        exchange,
        f"the stream ended after {len(texts)} chunks without `done`",
        "look at the server's log: it died, or it cut off a model that repeats itself",
    )


def _lines(exchange: Exchange) -> Iterator[tuple[int, bytes]]:
    """The answer's lines, each with the index of the piece that held its last byte."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Connection", "close")]))
    connection.send(h11.EndOfMessage())
    buffer, status = bytearray(), 200
    last = len(exchange.pieces) - 1
    try:
        for index, data in enumerate([*(piece.data for piece in exchange.pieces), b""]):
            connection.receive_data(data)
            while True:
                event = connection.next_event()
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    buffer += event.data
                    while status == 200 and (end := buffer.find(b"\n")) >= 0:
                        yield min(index, last), bytes(buffer[:end])
                        del buffer[: end + 1]
                elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    break
    except h11.RemoteProtocolError as error:
        raise _failure(exchange, f"the answer is torn or no HTTP ({error})", "look at the server's log") from error
    if status != 200:
        raise _refusal(exchange, status, bytes(buffer))
    if buffer.strip():
        yield last, bytes(buffer)


def _parsed(exchange: Exchange, line: bytes) -> dict[str, Any]:
    """The JSON object of one line."""
    try:
        chunk = json.loads(line)
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict):
        raise _failure(exchange, f"a line is no JSON object: {line[:80]!r}", "look at the server's log")
    if "error" in chunk:
        raise _failure(exchange, f"the server reported an error in mid-stream: {chunk['error']}", "look at its log")
    return chunk


def _text(chunk: dict[str, Any]) -> str:
    """What the chunk adds to the answer, thinking included."""
    part = chunk.get("message", chunk)
    if not isinstance(part, dict):
        return ""
    return f"{part.get('thinking') or ''}{part.get('response') or ''}{part.get('content') or ''}"


def _whole(exchange: Exchange, chunk: dict[str, Any], name: str) -> int:
    """A count or a duration in nanoseconds; Ollama omits zeros."""
    value = chunk.get(name, 0)
    if not isinstance(value, int) or value < 0:
        raise _failure(exchange, f"`{name}` is {value!r}, wanted a whole number of 0 or more", "is this Ollama's API?")
    return value


def _refusal(exchange: Exchange, status: int, body: bytes) -> MeasurementError:
    """The error for a status other than 200."""
    try:
        text = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        text = body[:200].decode("utf-8", "replace") or "no text"
    next_step = {
        404: "is the model there? see the instance's /api/tags",
        503: "the server's queue is full: is another client using it?",
    }.get(status, "look at the server's log")
    return _failure(exchange, f"the server answered {status}: {text}", next_step)


def _failure(exchange: Exchange, what: str, next_step: str) -> MeasurementError:
    received = b"".join(piece.data for piece in exchange.pieces)
    return MeasurementError(f"{exchange.label}: {what}", next_step=next_step, received=received)
