"""HTTP off the clock: the raw pieces of one answer become its body, and how much of it each piece brought.

The framing is h11's: chunks with their extensions and trailers, lengths, 1xx answers, answers that end with the
connection. What it finds broken does not hide what came before: the body up to there is kept beside the fault.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import h11

from pytest_llmperf.errors import MeasurementError, printable
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.net.server_refusals import LOG, refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The body of an answer of status 200.

    Attributes:
        kind: its media type in small letters, without parameters; empty where none was given.
        data: the bytes, without any framing.
        ends: how many of these bytes had arrived with each piece of the exchange.
        delimited: whether HTTP says where it ends, so that a body without a fault is whole; else its end is that of the
            connection, and nobody can tell a torn one.
        fault: how and where the framing broke; empty where the answer is whole.
        cut: whether that was only the end of the connection, before the end of the answer.
    """

    kind: str
    data: bytes
    ends: tuple[int, ...]
    delimited: bool
    fault: str
    cut: bool

    def arrival(self, end: int) -> tuple[int, bool]:
        """When the bytes before `end` (1 or more) were all there.

        Returns:
            The index of the piece that brought the last of them, and whether that piece brought later bytes too: then
            its time is theirs, and only an upper bound for the bytes before `end`.
        """
        index = bisect_left(self.ends, end)
        return index, self.ends[index] > end


def unframe(exchange: Exchange) -> Body:
    """Takes the HTTP off an answer.

    Raises:
        MeasurementError: not HTTP, no final response, a status other than 200, or a compressed body.
    """
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Connection", "close")]))
    connection.send(h11.EndOfMessage())
    head, data, ends, fed, fault, cut = None, bytearray(), [], 0, "", False
    try:
        for piece in exchange.pieces:
            if piece.data:  # to h11, no bytes are the end
                fed += len(piece.data)
                connection.receive_data(piece.data)
                head = _take(connection, data) or head
            ends.append(len(data))
        cut = True  # what fails from here on, fails because the connection ended
        connection.receive_data(b"")
        _take(connection, data)
        cut = False
    except h11.RemoteProtocolError as error:
        ends.append(len(data))
        near = fed - len(connection.trailing_data[0])
        fault = f"the answer is torn or no HTTP, near byte {near} ({printable(str(error))})"
    if head is None:
        what = fault or f"no final HTTP response in {fed} bytes"
        raise failure(exchange, what, LOG, passing=cut or not fault)
    if head.status_code != 200:
        raise _refusal(exchange, head, bytes(data))
    headers = {name: value.decode("latin-1").strip().lower() for name, value in head.headers}
    coding = headers.get(b"content-encoding", "identity")
    if coding != "identity":
        raise failure(
            exchange,
            f"the answer is compressed ({printable(coding)}), so its chunks have no arrival of their own",
            "take compression out of the server or the proxy before it",
        )
    kind = headers.get(b"content-type", "").partition(";")[0].strip()
    delimited = b"transfer-encoding" in headers or b"content-length" in headers
    return Body(kind=kind, data=bytes(data), ends=tuple(ends), delimited=delimited, fault=fault, cut=cut)


def failure(exchange: Exchange, what: str, next_step: str, *, passing: bool = False) -> MeasurementError:
    """The error for an answer, with all its bytes."""
    received = b"".join(piece.data for piece in exchange.pieces)
    return MeasurementError(f"{exchange.label}: {what}", next_step=next_step, received=received, passing=passing)


def _take(connection: h11.Connection, data: bytearray) -> h11.Response | None:
    """Moves what can be had by now into `data`; the response, where its head is among it."""
    head = None
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            data += event.data
        elif isinstance(event, h11.Response):
            head = event
        elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            return head


def _refusal(exchange: Exchange, head: h11.Response, body: bytes) -> MeasurementError:
    """The error for a status other than 200."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    said = refusal(head.status_code, headers, body)
    what = f"the server answered {said.words}"
    return failure(exchange, what, said.advice.next_step, passing=said.advice.passing)
