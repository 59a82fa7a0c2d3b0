"""From raw bytes to a RequestTiming, after the clock has stopped: `framing` takes HTTP off, `parts` reads the JSON.

Read are streams of lines of JSON (Ollama), event streams (OpenAI-compatible `/v1/chat/completions` and
`/v1/completions`), and answers of one object of either. Which it is, the content type and the first object tell, not
the path. What each says of itself:

| answer | tokens (`eval_count`, `prompt_eval_count`) | the server's durations | its end |
|---|---|---|---|
| Ollama | in the object with `done` | in the same, ns | `"done": true` |
| v1 stream | in the `usage` block, wherever it stands; 0 without one | llama-server's `timings`; else 0 | `[DONE]` |
| v1 object | in its `usage` block; 0 without one | the same | its own |

A count or duration of 0 makes the metrics that need it undefined, see `judge.formulas`. Of members given twice, the
last counts, as it does for the servers.

A chunk has arrived when its last byte has, the line end (of an event: the blank line) included. Bytes that were read at
once have one arrival between them, that of the last: content chunks that later bytes of the body were read with are
counted as merged, also where these are but half a line. An answer that is not streamed is one chunk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmperf.errors import MEMORY, MeasurementError, is_out_of_memory, printable
from pytest_llmperf.measure.framing import Body, failure, unframe
from pytest_llmperf.measure.lines import Line, LineError, events, json_lines
from pytest_llmperf.measure.parts import Part, Reported, ollama, v1
from pytest_llmperf.measure.wire import Exchange
from pytest_llmperf.model import RequestTiming

_JSON, _EVENTS = "application/json", "text/event-stream"
_END = b"[DONE]"
_REPEATS = 30
"""Ollama ends an answer after more equal chunks than this."""


def decode(exchange: Exchange) -> RequestTiming:
    """Reads one answer.

    An answer is complete when it says so: where only the connection ended before the last bytes of framing, nothing is
    lost.

    Raises:
        MeasurementError: not HTTP, torn, compressed, a status other than 200, a line that cannot be understood, an
            error that the server reports, an end without `done` or `[DONE]`, or anything after it; the text says where,
            `received` holds the bytes.
    """
    body = unframe(exchange)
    texts: list[str] = []
    ends: list[int] = []
    figures: dict[str, int] = {}
    reason, done = "", 0
    try:
        for line, part in _parts(body):
            if done:
                raise LineError(line.number, line.start, f"more after the end of the answer: {line.data[:80]!r}")
            if part.content:
                texts.append(part.text)
                ends.append(line.end)
            figures.update(part.figures)
            reason = part.reason or reason
            done = line.end if part.done else 0
    except LineError as error:
        raise _misunderstood(exchange, body, error) from error
    if body.fault and not (done and body.cut):
        raise failure(exchange, f"{body.fault}, after {len(ends)} chunks", "look at the server's log", passing=True)
    if not done:
        raise _endless(exchange, body, texts)
    arrivals = [body.arrival(end) for end in ends]
    return RequestTiming(
        sent_ns=exchange.sent_ns,
        done_ns=exchange.pieces[body.arrival(done)[0]].arrival_ns,
        arrivals_ns=tuple(exchange.pieces[index].arrival_ns for index, _ in arrivals),
        merged=sum(shared for _, shared in arrivals),
        first_merged=bool(arrivals) and arrivals[0][1],
        done_reason=_joined(reason),
        text=_joined("".join(texts)),
        **{"eval_count": 0, **figures},
    )


def _parts(body: Body) -> Iterator[tuple[Line, Part]]:
    """Each line with what it says.

    Raises:
        LineError: a line cannot be understood, or holds the server's own error.
    """
    whole, is_v1 = not body.fault, None
    lines: Iterator[Line]
    if body.kind == _EVENTS:
        lines = events(body.data, whole=whole)
    elif body.kind == _JSON:
        lines = iter([Line(1, 0, len(body.data), body.data)] if whole else [])
    else:
        lines = json_lines(body.data, whole=whole)
    for line in lines:
        try:
            if body.kind == _EVENTS:
                part = Part(done=True) if line.data.strip() == _END else v1(_object(line.data))
            else:
                chunk = _object(line.data)
                is_v1 = "choices" in chunk if is_v1 is None else is_v1
                part = v1(chunk)._replace(done=True) if is_v1 else ollama(chunk)
        except RecursionError as error:
            raise LineError(line.number, line.start, "JSON that is nested too deeply") from error
        except ValueError as error:
            raise LineError(line.number, line.start, str(error)) from error
        yield line, part


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _object(data: bytes) -> dict[str, Any]:
    """The JSON object of one line.

    Raises:
        ValueError: it is none.
    """
    try:
        chunk = _DECODER.decode(data.decode())
    except ValueError as error:
        raise ValueError(f"no JSON object: {data[:80]!r} ({str(error)[:80]})") from error
    if not isinstance(chunk, dict):
        raise ValueError(f"no JSON object: {data[:80]!r}")
    return chunk


def _joined(text: str) -> str:
    """Joins the halves of characters that the server cut in two; a half that stays alone becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _misunderstood(exchange: Exchange, body: Body, error: LineError) -> MeasurementError:
    """The error for a line: torn, the server's own complaint, or of another language."""
    if isinstance(error.__cause__, Reported):
        no_memory = is_out_of_memory(str(error))
        next_step = MEMORY if no_memory else "look at the server's log"
        return failure(exchange, str(error), next_step, passing=not no_memory)
    torn = b"\n" not in body.data[error.start :]
    next_step = "look at the server's log; is this Ollama's API or a /v1 one?"
    return failure(exchange, str(error), next_step, passing=torn)


def _endless(exchange: Exchange, body: Body, texts: Sequence[str]) -> MeasurementError:
    """The error for an answer that stopped."""
    end, line = _END.decode() if body.kind == _EVENTS else "`done`", body.data.count(b"\n") + 1
    what = f"the stream ended after {len(texts)} chunks without {end} (line {line}, byte {len(body.data)} of the body)"
    if len(texts) >= _REPEATS and len(set(texts[-_REPEATS:])) == 1:
        return failure(
            exchange,
            f"{what}; the last {_REPEATS} are all {printable(texts[-1])!r}: the server cut off a model that repeats "
            "itself",
            "give this agent another prompt, or a repeat_penalty or temperature that lets the model go on",
        )
    return failure(exchange, what, "look at the server's log: did it die?", passing=True)
