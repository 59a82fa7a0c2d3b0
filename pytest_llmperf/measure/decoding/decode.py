"""Turns raw bytes into a RequestTiming after the clock has stopped.

`http_body` removes the HTTP framing, `stream_lines` finds lines or events, `stream_records` reads their JSON.

It reads the answers of all endpoints in `model.endpoints`, streamed or in one object. The first bytes and the first
object decide the form (`dialects`); the path and the content type do not, because servers and proxies often give wrong
ones. What each form contains:

| answer | tokens (`eval_count`, `prompt_eval_count`) | the server's durations | its end |
|---|---|---|---|
| Ollama | in the object with `done` | in the same, ns | `"done": true` |
| v1 stream | in the `usage` block, wherever it is; else 0 | llama-server's `timings`; else 0 | `[DONE]`, see below |
| v1 object | in its `usage` block; 0 without one | the same | its own |
| `/v1/responses` | in the `usage` of the last event | 0 | `response.completed` or `response.incomplete` |
| `/v1/messages` | in the `usage` of two events | 0 | `message_stop` |
| embeddings | of the prompt only | Ollama's total and load, ns | its own |

A v1 stream without `[DONE]` is complete if every choice has its `finish_reason` and HTTP marks the end of the body (the
last chunk, the length); if the body ends with the connection, a torn answer could not be recognised. Records after the
end (`[DONE]` again, `done` again) are ignored if they have no content, and an error if they have. Named events without
a part of an answer (`event: ping`, progress of a tool) are ignored.

A count or duration of 0 makes the metrics that need it undefined, see `judge.metrics.formulas`. If a member is given
twice, the last one counts, as it does for the servers.

A chunk has arrived when its last byte has arrived, including the line end (for an event, the blank line). Bytes that
were read at once share one arrival time, that of the last byte: a content chunk that was read together with later bytes
of the body counts as merged, even if these are only half a line. An answer that is not streamed is one chunk. Chunks of
thoughts have their own arrival times; they are not content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from pytest_llmperf.errors import MeasurementError, printable
from pytest_llmperf.measure.decoding.dialects import Form, form_of
from pytest_llmperf.measure.decoding.http_body import Body, failure, unframe
from pytest_llmperf.measure.decoding.stream_lines import (
    Line,
    LineError,
    are_events,
    events,
    first_line,
    json_lines,
    shown,
    whole_body,
)
from pytest_llmperf.measure.decoding.stream_records import Object, Part, Reported
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.model import RequestTiming
from pytest_llmperf.net.server_refusals import LOG, WEB_PAGE, advice, error_of

_JSON, _EVENTS = "application/json", "text/event-stream"
_END = b"[DONE]"
_BYTES_A_THOUGHT = 2
_REPEATS = 30
"""Ollama ends an answer after more equal chunks than this."""


def decode(exchange: Exchange) -> RequestTiming:
    """Reads one answer.

    An answer is complete when it says so: if the connection ended before the last bytes of the framing, nothing is
    lost.

    Raises:
        MeasurementError: not HTTP, torn, compressed, a status other than 200, a line that cannot be understood, an
            error that the server reports, no end, or content after it; the text says where, `received` has the bytes.
    """
    body = unframe(exchange)
    answer = _Answer()
    form: Form | None = None
    try:
        for line, part, form in _parts(body):  # noqa: B007 - the last one is needed below
            answer.add(line, part)
    except LineError as error:
        raise _misunderstood(exchange, body, error) from error
    if not answer.done and body.delimited and not body.fault:
        answer.end_with_http()
    if body.fault and not (answer.done and body.cut):
        raise failure(exchange, f"{body.fault}, after {len(answer.texts)} chunks", LOG, passing=True)
    if not answer.done:
        raise _endless(exchange, body, answer, form)
    return answer.timing(exchange, body)


_WHICH_API = "look at the server's log; is this Ollama's API or a /v1 one?"
_PAGE_BYTES = 200


class _Answer:
    """The answer that its parts add up to.

    Attributes:
        texts: the texts of its content chunks.
        done: offset after its end; 0 before.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.done = 0
        self._thoughts: list[str] = []
        self._ends: list[int] = []
        self._thought_ends: list[int] = []
        self._figures: dict[str, int] = {}
        self._call_bytes = self._hidden = 0
        self._reason = ""
        self._embedding = False
        self._last = 0
        self._objects = 0
        self._open: set[int] = set()
        self._finished: set[int] = set()

    def add(self, line: Line, part: Part) -> None:
        """Adds the next part. Raises LineError if it is content after the end."""
        self._call_bytes += len(line.data) if part.calls else 0
        self._hidden = max(self._hidden, part.hidden)  # some servers count in every chunk, from the beginning
        if self.done:
            if part.content or part.thinking:
                raise LineError(line.number, line.start, f"more after the end of the answer: {shown(line.data)}")
            self._figures = {**part.figures, **{name: value for name, value in self._figures.items() if value}}
            return
        self._objects += 1
        self._embedding = part.embedding
        if part.content:
            self.texts.append(part.text)
            self._ends.append(line.end)
        if part.thinking:
            self._thoughts.append(part.thinking)
            self._thought_ends.append(line.end)
        self._figures.update(part.figures)
        self._reason = part.reason or self._reason
        self._open |= part.choices
        self._finished |= part.finished
        self._last = line.end
        self.done = line.end if part.done else 0

    def end_with_http(self) -> None:
        """HTTP has ended whole: so has the answer, if every choice said that it was complete."""
        if self._finished and self._finished >= self._open:
            self.done = self._last

    def timing(self, exchange: Exchange, body: Body) -> RequestTiming:
        """All of it, with the moments of its exchange."""
        arrivals = [body.arrival(end) for end in self._ends]
        thoughts = [body.arrival(end) for end in self._thought_ends]
        return RequestTiming(
            sent_ns=exchange.sent_ns,
            done_ns=exchange.pieces[body.arrival(self.done)[0]].arrival_ns,
            arrivals_ns=tuple(exchange.pieces[index].arrival_ns for index, _ in arrivals),
            reasoning_ns=tuple(exchange.pieces[index].arrival_ns for index, _ in thoughts),
            merged=sum(shared for _, shared in arrivals),
            first_merged=bool(arrivals) and arrivals[0][1],
            streamed=self._objects > 1,
            embedding=self._embedding,
            endpoint="",
            done_reason=_joined(self._reason),
            text=_joined("".join(self.texts)),
            reasoning=_joined("".join(self._thoughts)),
            wordless_bytes=self._call_bytes + _BYTES_A_THOUGHT * self._hidden,
            **{"eval_count": 0, **self._figures},
        )


def _parts(body: Body) -> Iterator[tuple[Line, Part, Form | None]]:
    """Each line with what it says, and the form of the answer.

    Raises:
        LineError: a line cannot be understood, or holds the server's own error.
    """
    in_events = are_events(body.data, labelled=body.kind == _EVENTS)
    form: Form | None = None
    for line in _lines(body, in_events=in_events):
        try:
            if line.data.strip() == _END:
                mark = Part(done=form is None or form.marked)  # other answers end with an object that has figures
                yield line, mark, form
                continue
            named = line.event not in (b"", b"message")
            chunk = _chunk(line, named=named)
            if chunk is None:
                continue
            form = form or form_of(chunk, in_events=in_events, named=named)
            if form is None or not form.takes(chunk, named=named):
                continue
            part = form.read(chunk)
        except RecursionError as error:
            raise LineError(line.number, line.start, "JSON that is nested too deeply") from error
        except ValueError as error:
            raise LineError(line.number, line.start, str(error)) from error
        yield line, part, form


def _lines(body: Body, *, in_events: bool) -> Iterator[Line]:
    """The body in lines, in events, or as the one object that it is."""
    whole = not body.fault
    if in_events:
        return events(body.data, whole=whole)
    if not is_object(first_line(body.data)):
        if body.kind == _JSON:
            return iter([whole_body(body.data)] if whole else [])
        if whole and is_object(whole_body(body.data).data):
            return iter([whole_body(body.data)])
    return json_lines(body.data, whole=whole)


def _chunk(line: Line, *, named: bool) -> Object | None:
    """The object in a line; None if the line is an event with a name of its own that has none.

    Raises:
        ValueError: it is not an object, or it is an error of the server.
    """
    if line.event == b"error":
        raise Reported(_error_text(line.data))
    try:
        return _object(line.data)
    except ValueError:
        if not named or line.data.lstrip()[:1] in (b"{", b"["):  # a torn one may have held a chunk
            raise
        return None


def _error_text(data: bytes) -> str:
    """The text of an event `error`."""
    text = data.decode("utf-8", "replace")
    try:
        return error_of({"error": _DECODER.decode(text)}) or text
    except (ValueError, RecursionError):
        return text


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def is_object(data: bytes) -> bool:
    """Whether these bytes are one JSON object."""
    try:
        _object(data)
    except (ValueError, RecursionError):
        return False
    return True


def _object(data: bytes) -> Object:
    """The JSON object of one line.

    Raises:
        ValueError: it is none.
    """
    try:
        chunk = _DECODER.decode(data.decode())
    except ValueError as error:
        raise ValueError(f"no JSON object: {shown(data)} ({str(error)[:80]})") from error
    if not isinstance(chunk, dict):
        raise ValueError(f"no JSON object: {shown(data)}")
    return chunk


def _joined(text: str) -> str:
    """Joins the halves of characters that the server cut in two; a half that stays alone becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _misunderstood(exchange: Exchange, body: Body, error: LineError) -> MeasurementError:
    """The error for a line: torn, the server's own complaint, or of another language."""
    if isinstance(error.__cause__, Reported):
        advised = advice(error.__cause__.text)
        return failure(exchange, str(error), advised.next_step, passing=advised.passing)
    torn = b"\n" not in body.data[error.start :]
    return failure(exchange, str(error), WEB_PAGE if _is_page(body) else _WHICH_API, passing=torn)


def _is_page(body: Body) -> bool:
    """Whether it is a web page: a login, the welcome of a web server, a proxy's error."""
    return bytes(body.data[:_PAGE_BYTES]).lstrip().lower().startswith((b"<!doctype", b"<html"))


def _endless(exchange: Exchange, body: Body, answer: _Answer, form: Form | None) -> MeasurementError:
    """The error for an answer that stopped."""
    texts, line = answer.texts, body.data.count(b"\n") + 1
    usual = "[DONE]" if are_events(body.data, labelled=body.kind == _EVENTS) else "`done`"
    end = form.end if form else usual
    problem = (
        f"the stream ended after {len(texts)} chunks without {end} (line {line}, byte {len(body.data)} of the body)"
    )
    if len(texts) >= _REPEATS and len(set(texts[-_REPEATS:])) == 1:
        return failure(
            exchange,
            f"{problem}; the last {_REPEATS} are all {printable(texts[-1])!r}: the server cut off a model that repeats "
            "itself",
            "give this agent another prompt, or a repeat_penalty or temperature that avoids repetition",
        )
    return failure(exchange, problem, f"{LOG}: did it die?", passing=True)
