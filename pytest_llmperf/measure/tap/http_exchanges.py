"""Requests and answers out of what passed the tap, after the clock has stopped; h11 finds where each one ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import h11

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.decoding.decode import decode, is_object
from pytest_llmperf.measure.decoding.stream_lines import are_events, first_line
from pytest_llmperf.measure.tap.recording import Carried, Flow, Taken
from pytest_llmperf.measure.wire.arrival import Piece, Raw, settle
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.model import RequestTiming

GENERATION = ("/api/generate", "/api/chat", "/v1/chat/completions", "/v1/completions")
"""Paths whose requests are timed; others pass."""

CANCELLED = "cancelled"
"""`done_reason` of a request whose answer the agent did not wait for."""

_NDJSON_END = b'{"done":true,"done_reason":"stop"}\n'
_SSE_END = (
    b'\ndata: {"choices":[{"index":0,"delta":{},"text":"","finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}\n\ndata: [DONE]\n\n'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One request and what came back.

    Attributes:
        method, path: of the request; the path without a query.
        exchange: the request's end and the answer's bytes with their times.
        whole: whether the answer was complete.
        left_ns: the moment the agent left before the answer was complete; 0 where it did not.
    """

    method: str
    path: str
    exchange: Exchange
    whole: bool
    left_ns: int

    @property
    def generation(self) -> bool:
        """Whether it asks a model for text."""
        return self.method == "POST" and self.path.endswith(GENERATION)


def spoken(carried: Carried, taken: Taken, *, label: str) -> Iterator[Spoken]:
    """The requests of one connection, in order, each with its answer.

    Args:
        carried: the connection.
        taken: the part that it belongs to.
        label: for error messages.

    Raises:
        MeasurementError: what the agent sent is no HTTP.
    """
    pieces, source = settle(
        [Raw(one.read_ns, one.ancillary, one.data) for one in carried.down.passed], taken.before_ns, taken.after_ns
    )
    left_ns = carried.up.ended_ns or taken.end_ns
    if carried.down.ended_ns and left_ns > carried.down.ended_ns:
        left_ns = 0  # the server went first
    rest = deque(pieces)
    for request in _requests(carried.up, label):
        answer, whole, begun_ns = _answer(request.method, rest, ended=bool(carried.down.ended_ns))
        if carried.up.ended_ns and request.sent_ns > carried.up.ended_ns:
            continue  # nobody waited for it any more when it was sent
        last_ns = answer[-1].arrival_ns if answer else 0
        yield Spoken(
            method=request.method,
            path=request.path,
            exchange=Exchange(
                sent_ns=min(request.sent_ns, begun_ns or request.sent_ns),
                pieces=answer,
                source=source,
                label=label,
                connect_ns=carried.connect_ns,
                connected_ns=carried.connected_ns,
                ended_ns=answer[-1].read_ns if whole and answer else carried.down.ended_ns,
            ),
            whole=whole,
            left_ns=0 if whole or not left_ns else max(left_ns, request.sent_ns, last_ns),
        )


def timing(one: Spoken) -> RequestTiming:
    """The timing of a generation request.

    Raises:
        MeasurementError: as `decode` does, unless the agent had left before: that is `done_reason` CANCELLED.
    """
    try:
        return decode(one.exchange)
    except MeasurementError:
        if not one.left_ns:
            raise
    cut = decode(_closed(one))
    return replace(cut, done_reason=CANCELLED, eval_count=0, streamed=True)  # as far as anybody knows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    method: str
    path: str
    sent_ns: int


def _requests(up: Flow, label: str) -> Iterator[_Request]:
    """The requests of one direction; the moment of each is when its last byte was handed to the server."""
    connection = h11.Connection(h11.SERVER)
    head: h11.Request | None = None
    sent_ns = 0
    try:
        for one in up.passed:
            connection.receive_data(one.data)
            sent_ns = one.handed_ns or sent_ns
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.EndOfMessage) and head is not None:
                    if sent_ns:  # else it never left
                        yield _as_request(head, sent_ns)
                    head = None
                    if not _next_cycle(connection):
                        return
                elif isinstance(event, h11.ConnectionClosed):
                    break
    except h11.RemoteProtocolError as error:
        raise MeasurementError(
            f"{label}: what the agent sent is no HTTP ({error})", next_step="the agent must speak plain HTTP/1.1"
        ) from error
    if head is not None and sent_ns:
        yield _as_request(head, sent_ns)  # its end never came; its answer may have


def _next_cycle(connection: h11.Connection) -> bool:
    """Has h11 take the next request; False where this one was to be the last."""
    try:
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()
    except h11.LocalProtocolError:
        return False
    return True


def _as_request(head: h11.Request, sent_ns: int) -> _Request:
    path = head.target.decode("ascii", "replace").partition("?")[0]
    return _Request(method=head.method.decode("ascii"), path=path, sent_ns=sent_ns)


def _answer(method: str, rest: deque[Piece], *, ended: bool) -> tuple[tuple[Piece, ...], bool, int]:
    """Takes the pieces of one answer from the front of what came; the piece in which it ends is cut there.

    Returns:
        The pieces; whether the answer is complete; and the moment it began (0: it did not), which may be before the
        request's last byte was sent: a server need not wait for bytes that tell it nothing. What is no HTTP is taken
        whole, and is not complete.
    """
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    taken: list[Piece] = []
    begun_ns = 0
    try:
        while rest or ended:
            if rest:
                piece = rest.popleft()
                taken.append(piece)
                connection.receive_data(piece.data)
            else:
                connection.receive_data(b"")
                ended = False
            while True:
                event = connection.next_event()
                if isinstance(event, h11.Response):
                    begun_ns = taken[-1].arrival_ns
                elif isinstance(event, h11.EndOfMessage):
                    over, _ = connection.trailing_data
                    if over and taken:
                        last = taken[-1]
                        taken[-1] = last._replace(data=last.data[: len(last.data) - len(over)])
                        rest.appendleft(last._replace(data=over))
                    return tuple(taken), True, begun_ns
                if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                    break
    except h11.RemoteProtocolError:
        taken += rest
        rest.clear()
    return tuple(taken), False, begun_ns


def _closed(one: Spoken) -> Exchange:
    """An answer that the agent left, up to its last whole line, with an end that its server never wrote.

    It serves to find out when content arrived by the same code as for whole answers.
    """
    stream = "/v1/" in one.path
    kind = b"text/event-stream" if stream else b"application/x-ndjson"
    status, given = 200, kind
    body: list[Piece] = []
    for piece, event in _events(one):
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
        body = [*lines, Piece(one.left_ns, one.left_ns, _SSE_END if stream else _NDJSON_END)]
    head = b"HTTP/1.1 %d Status\r\nContent-Type: %s\r\n\r\n" % (status, kind)
    return replace(one.exchange, pieces=(Piece(one.exchange.sent_ns, one.exchange.sent_ns, head), *body))


def _events(one: Spoken) -> Iterator[tuple[Piece, h11.Response | h11.Data]]:
    """Head and body of an answer as far as it came, each with its piece."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=one.method, target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    for piece in one.exchange.pieces:
        try:
            connection.receive_data(piece.data)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
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
