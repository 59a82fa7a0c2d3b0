"""Marks: requests by which an agent tells the tap when it begins and ends; the tap itself answers them."""

from __future__ import annotations

import contextlib
import re
import socket
from typing import NamedTuple

from pytest_llmperf.measure.wire.arrival import Ancillary

BEGIN, END = "begin", "end"

_LINE = re.compile(rb"POST [^\s?]*/llmperf/(begin|end)(\?\S*)? HTTP/1\.([01])\r\n")
_BEGINNING = b"POST /"
_CLOSES = re.compile(rb"(?im)^(connection:[ \t]*close|content-length:[ \t]*0*[1-9]|transfer-encoding:)")
_LONGEST = 8192
"""Bytes that may be held back until it is clear whether they are a mark."""


class Mark(NamedTuple):
    """A mark of an agent.

    Attributes:
        kind: BEGIN or END.
        read_ns, ancillary: time and ancillary data of the read that completed it, as in `recording.Chunk`.
    """

    kind: str
    read_ns: int
    ancillary: Ancillary


class MarkReader:
    """Takes the marks out of what an agent sends on one connection, between its requests, and answers them.

    The first bytes of a request are held back until its first line is whole.

    Args:
        client: the agent's socket.

    Attributes:
        marks: so far.
        closed: whether the tap has closed its half after a mark; what the agent still sends is dropped.
    """

    __slots__ = ("_client", "_held", "closed", "marks")

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._held = b""
        self.marks: tuple[Mark, ...] = ()
        self.closed = False

    @property
    def holds(self) -> bool:
        """Whether bytes are held back."""
        return bool(self._held)

    def feed(self, data: bytes, read_ns: int, ancillary: Ancillary) -> bytes:
        """The bytes that are no mark, as far as that is clear.

        Args:
            data: the bytes read; empty: the agent has ended, and the held bytes are no mark.
            read_ns: the moment after the read.
            ancillary: the kernel's arrival stamp.
        """
        self._held += data
        while data and not self.closed:
            match = _LINE.match(self._held)
            head, ended, rest = self._held.partition(b"\r\n\r\n")
            if (match is None or not ended) and self._may_be_mark(has_line=match is not None):
                return b""
            if match is None or not ended:
                break
            self.marks += (Mark(match[1].decode(), read_ns, ancillary),)
            self._answer(closes=match[3] == b"0" or bool(_CLOSES.search(head)))
            self._held = data = rest
        rest, self._held = self._held, b""
        return b"" if self.closed else rest

    def _may_be_mark(self, *, has_line: bool) -> bool:
        """Whether more bytes may make what is held a mark."""
        if len(self._held) > _LONGEST:
            return False
        return has_line or (b"\n" not in self._held and self._held.startswith(_BEGINNING[: len(self._held)]))

    def _answer(self, *, closes: bool) -> None:
        """Tells the agent that its mark is there; one with a body, or that is to be the last, ends the connection."""
        self.closed = closes
        with contextlib.suppress(OSError):
            self._client.send(b"HTTP/1.1 204 No Content\r\n%s\r\n" % (b"Connection: close\r\n" if closes else b""))
            if closes:
                self._client.shutdown(socket.SHUT_WR)
