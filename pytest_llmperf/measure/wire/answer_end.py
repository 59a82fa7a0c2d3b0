"""Detects the end of an answer while the clock runs: as soon as HTTP marks it, not when the server closes.

The timed path parses as little as possible. It reads the head once, to learn how the body ends. For a body in chunks,
it checks only the last bytes of each read, and follows the chunk sizes, from where it stopped before, if these may be
the end. For a body with a length, it counts the bytes.

Anything odd (two lengths, a size that is not a number) is not taken as an end: the connection's end is then the end, as
for bodies that end with it, and the decoder reports what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_BLANK = b"\r\n\r\n"
_MOST_HEAD = 16384
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_FIELD = re.compile(rb"(?i)\n(transfer-encoding|content-length)[ \t]*:[ \t]*([^\r\n]*)")
_HEAD_END = re.compile(rb"\n\r?\n")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}(?=[ \t;\r])")
_LENGTH = re.compile(rb"\d{1,18}")


class Ending:
    """Follows the bytes of one answer, given in the order they were read, until `add` says that it is complete."""

    __slots__ = ("_head", "_held", "_left", "add")

    def __init__(self) -> None:
        self.add: Callable[[bytes], bool] = self._in_head
        self._head = b""
        self._held: list[bytes] = []
        self._left = 0  # bytes of the body before its end, or before the next size of a chunk

    def _in_head(self, data: bytes) -> bool:
        """Until the head is complete: how does the body end?"""
        self._head += data
        while match := _HEAD_END.search(self._head):
            head, rest = self._head[: match.end()], self._head[match.end() :]
            status = _STATUS.match(head)
            if status is None or status[1] == b"101":
                return self._give_up()
            if not status[1].startswith(b"1"):
                return self._begin(head, status[1], rest)
            self._head = rest  # an interim answer: another one follows
        return self._give_up() if len(self._head) > _MOST_HEAD else False

    def _begin(self, head: bytes, status: bytes, rest: bytes) -> bool:
        """The body begins, with `rest`."""
        self._head = b""
        fields = [(name.lower(), value.strip().lower()) for name, value in _FIELD.findall(head)]
        if status in (b"204", b"304"):
            return True
        if fields == [(b"transfer-encoding", b"chunked")]:
            self.add = self._in_chunks
        elif len(fields) == 1 and fields[0][0] == b"content-length" and _LENGTH.fullmatch(fields[0][1]):
            self.add, self._left = self._counted, int(fields[0][1])
        else:
            return self._give_up()
        return self.add(rest)

    def _counted(self, data: bytes) -> bool:
        """For a body with a length."""
        self._left -= len(data)
        return self._left <= 0

    def _in_chunks(self, data: bytes) -> bool:
        """For a body in chunks."""
        held = self._held
        held.append(data)
        if not data.endswith(_BLANK) and (len(data) > 3 or not b"".join(held[-4:]).endswith(_BLANK)):
            return False
        return self._follow(b"".join(held))

    def _follow(self, held: bytes) -> bool:
        """From chunk to chunk: is the last one there, with the blank line behind it?"""
        at = self._left
        while at <= len(held):
            size = _SIZE.match(held, at)
            end = held.find(b"\r\n", at)
            if end < 0:
                break
            if size is None:
                return self._give_up()
            if not int(size[0], 16):
                if held.find(_BLANK, end) >= 0:
                    return True
                break
            at = end + 2 + int(size[0], 16) + 2
        self._held, self._left = [held[at:]], max(0, at - len(held))
        return False

    def _give_up(self) -> bool:
        """Waits for the end of the connection."""
        self.add = _never
        self._head, self._held = b"", []
        return False


def _never(data: bytes) -> bool:
    """The body ends with the connection."""
    del data
    return False
