"""Finds the requests and answers in what the tap has captured, after the clock has stopped."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import h11

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.decoding.decode import decode, is_object
from pytest_llmperf.measure.decoding.dialects import ENDINGS
from pytest_llmperf.measure.decoding.http_events import answer_connection, events
from pytest_llmperf.measure.decoding.stream_lines import are_events, first_line
from pytest_llmperf.measure.tap.recording import Capture, CapturedConnection, Stream
from pytest_llmperf.measure.wire.arrival import Piece, Raw, settle
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.model import Dialect, Endpoint, RequestTiming
from pytest_llmperf.model.endpoints import endpoint_of

CANCELLED = "cancelled"
"""`done_reason` of a request whose agent closed the connection before the answer was complete."""

_IN_EVENTS = (Dialect.CHUNKS, Dialect.RESPONSES, Dialect.MESSAGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpExchange:
    """One request and its answer.

    Attributes:
        method, path: method and path of the request; the path without a query.
        sent: the request's body, without its framing.
        exchange: when the request was sent, and the answer's bytes with their times.
        whole: whether the answer is complete.
        left_ns: when the agent closed the connection before the answer was complete; 0 if it did not.
    """

    method: str
    path: str
    sent: bytes
    exchange: Exchange
    whole: bool
    left_ns: int

    @property
    def endpoint(self) -> Endpoint | None:
        """The endpoint that it asks; None if it is not timed."""
        return endpoint_of(self.method, self.path)

    @property
    def generation(self) -> bool:
        """Whether it is timed."""
        return self.endpoint is not None


def exchanges_of(connection: CapturedConnection, capture: Capture, *, label: str) -> Iterator[HttpExchange]:
    """The requests of one connection, in order, each with its answer.

    Args:
        connection: the captured connection.
        capture: the part that it belongs to.
        label: for error messages.

    Raises:
        MeasurementError: the agent sent bytes that are not HTTP.
    """
    received = [Raw(chunk.read_ns, chunk.ancillary, chunk.data) for chunk in connection.down.chunks]
    pieces, source = settle(received, capture.before_ns, capture.after_ns)
    left_ns = connection.up.ended_ns or capture.end_ns
    if connection.down.ended_ns and left_ns > connection.down.ended_ns:
        left_ns = 0  # the server went first
    rest = deque(pieces)
    for request in _requests(connection.up, label):
        answer, whole, begun_ns = _answer(request.method, rest, ended=bool(connection.down.ended_ns))
        if _abandoned(request, connection):
            continue
        last_ns = answer[-1].arrival_ns if answer else 0
        yield HttpExchange(
            method=request.method,
            path=request.path,
            sent=request.body,
            exchange=Exchange(
                sent_ns=min(request.sent_ns, begun_ns or request.sent_ns),
                pieces=answer,
                source=source,
                label=label,
                connect_ns=connection.connect_ns,
                connected_ns=connection.connected_ns,
                ended_ns=answer[-1].read_ns if whole and answer else connection.down.ended_ns,
            ),
            whole=whole,
            left_ns=0 if whole or not left_ns else max(left_ns, request.sent_ns, last_ns),
        )


def abandoned_of(connection: CapturedConnection, *, label: str) -> list[str]:
    """Method and path of each request that its agent gave up before it was sent to the server.

    Raises:
        MeasurementError: as `exchanges_of` does.
    """
    if connection.given_up_ns:
        return [connection.given_up] if connection.given_up else []
    requests = _requests(connection.up, label) if connection.up.ended_ns else ()
    return [f"{request.method} {request.path}" for request in requests if _abandoned(request, connection)]


def timing(http_exchange: HttpExchange) -> RequestTiming:
    """The timing of a request to an endpoint of the table.

    Raises:
        MeasurementError: as `decode` does, unless the agent had left before: that is `done_reason` CANCELLED.
    """
    endpoint = http_exchange.endpoint
    assert endpoint is not None
    try:
        return replace(decode(http_exchange.exchange), endpoint=endpoint.path)
    except MeasurementError:
        if not http_exchange.left_ns:
            raise
    cut = decode(_closed(http_exchange, endpoint.dialect))
    streamed = not endpoint.embeds  # as far as the tap can know
    return replace(cut, done_reason=CANCELLED, eval_count=0, streamed=streamed, endpoint=endpoint.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    method: str
    path: str
    body: bytes
    sent_ns: int


def _abandoned(request: _Request, connection: CapturedConnection) -> bool:
    """Whether the agent had closed the connection before the request was sent."""
    return 0 < connection.up.ended_ns < request.sent_ns


def _requests(up: Stream, label: str) -> Iterator[_Request]:
    """The requests of one direction; each was sent when its last byte was handed to the server."""
    connection = h11.Connection(h11.SERVER)
    head: h11.Request | None = None
    body = bytearray()
    sent_ns = 0
    try:
        for chunk in up.chunks:
            sent_ns = chunk.handed_ns or sent_ns
            for event in events(connection, chunk.data):
                if isinstance(event, h11.Request):
                    head = event
                    body.clear()
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage) and head is not None:
                    if sent_ns:  # else it never left
                        yield _as_request(head, bytes(body), sent_ns)
                    head = None
                    if not _next_cycle(connection):
                        return
    except h11.RemoteProtocolError as error:
        raise MeasurementError(
            f"{label}: the agent sent bytes that are not HTTP ({error})",
            next_step="the agent must speak plain HTTP/1.1",
        ) from error
    if head is not None and sent_ns:
        yield _as_request(head, bytes(body), sent_ns)  # its end is missing, but it may have been answered


def _next_cycle(connection: h11.Connection) -> bool:
    """Prepares h11 for the next request; False if the client has announced that this request was the last."""
    try:
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()
    except h11.LocalProtocolError:
        return False
    return True


def _as_request(head: h11.Request, body: bytes, sent_ns: int) -> _Request:
    path = head.target.decode("ascii", "replace").partition("?")[0]
    return _Request(method=head.method.decode("ascii"), path=path, body=body, sent_ns=sent_ns)


def _answer(method: str, rest: deque[Piece], *, ended: bool) -> tuple[tuple[Piece, ...], bool, int]:
    """Takes the pieces of one answer from the front of `rest`; the piece in which the answer ends is cut there.

    Returns:
        The pieces; whether the answer is complete; and the moment it began (0: it did not), which may be before the
        request's last byte was sent: a server need not wait for bytes that tell it nothing. Bytes that are not HTTP
        are all taken, as an incomplete answer.
    """
    connection = answer_connection(method)
    pieces: list[Piece] = []
    begun_ns = 0
    try:
        while rest or ended:
            if rest:
                pieces.append(rest.popleft())
                data = pieces[-1].data
            else:
                data, ended = b"", False
            for event in events(connection, data):
                if isinstance(event, h11.Response):
                    begun_ns = pieces[-1].arrival_ns
                elif isinstance(event, h11.EndOfMessage):
                    over, _ = connection.trailing_data
                    if over and pieces:
                        last = pieces[-1]
                        pieces[-1] = last._replace(data=last.data[: len(last.data) - len(over)])
                        rest.appendleft(last._replace(data=over))
                    return tuple(pieces), True, begun_ns
    except h11.RemoteProtocolError:
        pieces += rest
        rest.clear()
    return tuple(pieces), False, begun_ns


def _closed(http_exchange: HttpExchange, dialect: Dialect) -> Exchange:
    """An answer that the agent did not wait for, up to its last whole line, with an end that its server never wrote.

    With that end, the code for complete answers finds out when content arrived.
    """
    stream = dialect in _IN_EVENTS
    kind = b"text/event-stream" if stream else b"application/x-ndjson"
    status, given = 200, kind
    body: list[Piece] = []
    for piece, event in _piece_events(http_exchange):
        if isinstance(event, h11.Response):
            status, given = event.status_code, dict(event.headers).get(b"content-type", kind)
        elif body and body[-1].read_ns == piece.read_ns:
            body[-1] = piece._replace(data=body[-1].data + event.data)
        else:
            body.append(piece._replace(data=bytes(event.data)))
    if status == 200:
        data = b"".join(piece.data for piece in body)
        labelled = given.startswith(kind)
        in_parts = are_events(data, labelled=labelled) if stream else is_object(first_line(data))
        lines = _whole_lines(body) if in_parts else []  # an answer of one object has not begun to arrive
        left_ns = http_exchange.left_ns
        body = [*lines, Piece(left_ns, left_ns, ENDINGS[dialect])]
    head = b"HTTP/1.1 %d Status\r\nContent-Type: %s\r\n\r\n" % (status, kind)
    sent_ns = http_exchange.exchange.sent_ns
    return replace(http_exchange.exchange, pieces=(Piece(sent_ns, sent_ns, head), *body))


def _piece_events(http_exchange: HttpExchange) -> Iterator[tuple[Piece, h11.Response | h11.Data]]:
    """The head and the body of an answer, as far as it arrived, each with its piece."""
    connection = answer_connection(http_exchange.method)
    for piece in http_exchange.exchange.pieces:
        try:
            for event in events(connection, piece.data):
                if isinstance(event, h11.Response | h11.Data):
                    yield piece, event
        except h11.RemoteProtocolError:
            return


def _whole_lines(body: list[Piece]) -> list[Piece]:
    """Without what comes after the last line feed."""
    while body:
        end = body[-1].data.rfind(b"\n") + 1
        if end:
            return [*body[:-1], body[-1]._replace(data=body[-1].data[:end])]
        body = body[:-1]
    return body
