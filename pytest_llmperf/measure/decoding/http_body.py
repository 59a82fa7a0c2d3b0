"""HTTP after the clock has stopped: turns the raw pieces of an answer into its body, with the share of each piece.

h11 parses the framing: chunks with extensions and trailers, lengths, 1xx answers, answers that end with the connection.
If the framing is broken, the body up to the fault is kept.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import h11

from pytest_llmperf.errors import MeasurementError, printable
from pytest_llmperf.measure.decoding.http_events import answer_connection, events
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.net.server_refusals import LOG, refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The body of an answer with status 200.

    Attributes:
        kind: media type in lower case, without parameters; empty if the answer names none.
        data: the bytes without framing.
        ends: for each piece of the exchange, how many of these bytes had arrived with it.
        delimited: whether HTTP marks the end of the body, so that a body without a fault is complete; else the body
            ends with the connection, and a torn body cannot be recognised.
        fault: how and where the framing is broken; empty if the answer is complete.
        cut: whether the fault is only that the connection ended before the answer.
    """

    kind: str
    data: bytes
    ends: tuple[int, ...]
    delimited: bool
    fault: str
    cut: bool

    def arrival(self, end: int) -> tuple[int, bool]:
        """When all bytes before `end` (1 or more) had arrived.

        Returns:
            The index of the piece with the last of these bytes, and whether that piece has later bytes, too; then its
            time is only an upper bound for the bytes before `end`.
        """
        index = bisect_left(self.ends, end)
        return index, self.ends[index] > end


def unframe(exchange: Exchange) -> Body:
    """Removes the HTTP framing from an answer.

    Raises:
        MeasurementError: not HTTP, no final response, a status other than 200, or a compressed body.
    """
    connection = answer_connection(closing=True)
    head, data, ends, fed, fault, cut = None, bytearray(), [], 0, "", False
    try:
        for piece in exchange.pieces:
            if piece.data:  # for h11, no bytes mean the end of the connection
                fed += len(piece.data)
                head = _read(connection, piece.data, data) or head
            ends.append(len(data))
        cut = True  # a failure from here on is due to the end of the connection
        _read(connection, b"", data)
        cut = False
    except h11.RemoteProtocolError as error:
        ends.append(len(data))
        near = fed - len(connection.trailing_data[0])
        fault = f"the answer is torn or not HTTP, near byte {near} ({printable(str(error))})"
    if head is None:
        problem = fault or f"no final HTTP response in {fed} bytes"
        raise failure(exchange, problem, LOG, passing=cut or not fault)
    if head.status_code != 200:
        raise _refusal(exchange, head, bytes(data))
    headers = {name: value.decode("latin-1").strip().lower() for name, value in head.headers}
    coding = headers.get(b"content-encoding", "identity")
    if coding != "identity":
        raise failure(
            exchange,
            f"the answer is compressed ({printable(coding)}), so its chunks have no arrival times of their own",
            "turn off compression in the server or in the proxy in front of it",
        )
    kind = headers.get(b"content-type", "").partition(";")[0].strip()
    delimited = b"transfer-encoding" in headers or b"content-length" in headers
    return Body(kind=kind, data=bytes(data), ends=tuple(ends), delimited=delimited, fault=fault, cut=cut)


def failure(exchange: Exchange, problem: str, next_step: str, *, passing: bool = False) -> MeasurementError:
    """The error for an answer, with all its bytes."""
    received = b"".join(piece.data for piece in exchange.pieces)
    return MeasurementError(f"{exchange.label}: {problem}", next_step=next_step, received=received, passing=passing)


def _read(connection: h11.Connection, received: bytes, body: bytearray) -> h11.Response | None:
    """Adds the body bytes among the received ones to `body`; returns the response if its head is among them."""
    head = None
    for event in events(connection, received):
        if isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.Response):
            head = event
    return head


def _refusal(exchange: Exchange, head: h11.Response, body: bytes) -> MeasurementError:
    """The error for a status other than 200."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    said = refusal(head.status_code, headers, body)
    problem = f"the server answered {said.words}"
    return failure(exchange, problem, said.advice.next_step, passing=said.advice.passing)
