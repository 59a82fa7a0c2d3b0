"""A body in lines: one JSON value a line (NDJSON), or the events of an event stream (SSE), each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_IGNORED = (b"id", b"retry", b"")  # fields that are not used; a comment is a field without a name
_ERROR = b"error"
_JSON_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]")
_EVENT_START = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*(?:(?:data|event|id|retry|error)?:|(?:data|event|id|retry)[\r\n])")
_SHOWN = 500  # bytes of a line that is not understood: often an error in plain words


class Line(NamedTuple):
    """One line, or the data of one event.

    Attributes:
        number: the number of its first line in the body, from 1.
        start: offset of its first byte in the body.
        end: offset after its last byte, with the line end (for an event, with the blank line).
        data: the bytes without the line end.
        event: the name of the event, or `error` for a field of that name; empty for a line or an event without a name.
    """

    number: int
    start: int
    end: int
    data: bytes
    event: bytes = b""


class LineError(ValueError):
    """A line that cannot be understood; the text says what is wrong and where.

    Attributes:
        start: offset of its first byte in the body.
    """

    def __init__(self, number: int, start: int, problem: str) -> None:
        super().__init__(f"{problem} (line {number}, byte {start} of the body)")
        self.start = start


def shown(data: bytes) -> str:
    """Bytes that are not understood, for an error."""
    return repr(data[:_SHOWN])


def are_events(data: bytes, *, labelled: bool) -> bool:
    """Whether a body is an event stream, by its first bytes; by its label only if these are neither JSON nor events.

    Args:
        data: the body.
        labelled: whether its media type is that of an event stream.
    """
    if _JSON_START.match(data):
        return False
    return labelled or bool(_EVENT_START.match(data))


def first_line(data: bytes) -> bytes:
    """The first line that is not blank, without its end and without a byte order mark."""
    body = data.removeprefix(_BOM).lstrip()
    return body.partition(b"\n")[0]


def whole_body(data: bytes) -> Line:
    """A body that is one object, on however many lines."""
    return Line(1, 0, len(data), data.removeprefix(_BOM))


def json_lines(data: bytes, *, whole: bool) -> Iterator[Line]:
    r"""Splits at each `\n`; lines of white space are left out.

    Args:
        data: the body.
        whole: whether it is whole, so that a last line without a line end counts.
    """
    number = start = 0
    while start < len(data):
        number += 1
        feed_at = data.find(b"\n", start)
        stop, end = (feed_at, feed_at + 1) if feed_at >= 0 else (len(data), len(data))
        part = data[start:stop] if start else data[:stop].removeprefix(_BOM)
        if part.strip() and (whole or feed_at >= 0):
            yield Line(number, start, end, part)
        start = end


def events(data: bytes, *, whole: bool) -> Iterator[Line]:
    r"""The events of a `text/event-stream`, by the rules of the HTML standard, with two exceptions.

    Lines end in `\n`, `\r\n` or `\r`; an event ends with a blank line, and its `data` lines are joined by `\n`;
    comments, other fields and events without data are ignored. The exceptions: a field that the standard does not know
    is an error, because it may be a torn or foreign line with a chunk in it; and llama-server's field `error` is read
    as the data of an event with that name.

    Args:
        data: the body.
        whole: whether the body is complete, so that a last event without a blank line counts.

    Raises:
        LineError: a line is not one of these fields.
    """
    held: list[bytes] = []
    event = b""
    first = at = 0
    for number, match in enumerate(_LINE.finditer(data), 1):
        start, line, ended = match.start(), match[1], bool(match[2])
        if number == 1:
            line = line.removeprefix(_BOM)
        if not line and ended:
            if any(held):
                yield Line(first, at, match.end(), b"\n".join(held), event)
            held, event = [], b""
        elif ended or whole:
            name, _, value = line.partition(b":")
            if name in (b"data", _ERROR):
                if not held:
                    first, at = number, start
                held.append(value.removeprefix(b" "))
                event = _ERROR if name == _ERROR else event
            elif name == b"event":
                event = event if event == _ERROR else value.strip()
            elif name not in _IGNORED:
                raise LineError(number, start, f"no line of an event stream: {shown(line)}")
    if whole and any(held):
        yield Line(first, at, len(data), b"\n".join(held), event)
