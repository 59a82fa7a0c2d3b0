"""A body in lines: one JSON value a line (NDJSON), or the events of an event stream (SSE), each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_IGNORED = (b"event", b"id", b"retry", b"")  # fields that say nothing to us; a comment is a field without a name


class Line(NamedTuple):
    """One line, or the data of one event.

    Attributes:
        number: of its first line in the body, from 1.
        start: offset of its first byte in the body.
        end: offset behind its last byte, line end included (for an event: that of the blank line).
        data: the bytes, line end excluded.
    """

    number: int
    start: int
    end: int
    data: bytes


class LineError(ValueError):
    """A line that cannot be understood: what is wrong with it, and where it is.

    Attributes:
        start: offset of its first byte in the body.
    """

    def __init__(self, number: int, start: int, what: str) -> None:
        super().__init__(f"{what} (line {number}, byte {start} of the body)")
        self.start = start


def json_lines(data: bytes, *, whole: bool) -> Iterator[Line]:
    r"""Splits at each `\n`; lines of white space are left out.

    Args:
        data: the body.
        whole: whether it is whole, so that a last line without a line end counts.
    """
    number = start = 0
    while start < len(data):
        number += 1
        found = data.find(b"\n", start)
        stop, end = (found, found + 1) if found >= 0 else (len(data), len(data))
        part = data[start:stop]
        if part.strip() and (whole or found >= 0):
            yield Line(number, start, end, part)
        start = end


def events(data: bytes, *, whole: bool) -> Iterator[Line]:
    r"""The events of a `text/event-stream`, by the rules of the HTML standard, with one exception.

    Lines end in `\n`, `\r\n` or `\r`; an event ends with a blank line, and its `data` lines are joined by `\n`;
    comments, other fields and events without data are left out. The exception: a field that the standard does not know
    is no reason for it to stop, but to us it is a torn or foreign line, which may have held a chunk.

    Args:
        data: the body.
        whole: whether it is whole, so that a last event without its blank line counts.

    Raises:
        LineError: a line is none of the standard's fields.
    """
    held: list[bytes] = []
    first = at = 0
    for number, found in enumerate(_LINE.finditer(data), 1):
        start, line, ended = found.start(), found[1], bool(found[2])
        if number == 1:
            line = line.removeprefix(_BOM)
        if not line and ended:
            if any(held):
                yield Line(first, at, found.end(), b"\n".join(held))
            held = []
        elif ended or whole:
            name, _, value = line.partition(b":")
            if name == b"data":
                if not held:
                    first, at = number, start
                held.append(value.removeprefix(b" "))
            elif name not in _IGNORED:
                raise LineError(number, start, f"no line of an event stream: {line[:80]!r}")
    if whole and any(held):
        yield Line(first, at, len(data), b"\n".join(held))
