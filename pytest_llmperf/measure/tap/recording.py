"""What the tap has captured: plain values, which a pipe carries between processes."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise
from typing import NamedTuple

from pytest_llmperf.measure.tap.marks import Mark
from pytest_llmperf.measure.wire.arrival import Ancillary
from pytest_llmperf.measure.wire.scheduling_lag import Beat, lag_ns

_LOGIN = re.compile(rb"(?im)^((?:(?:proxy-)?authorization|cookie|[\w-]*(?:api-?key|token|secret)):[ \t]*)([^\r\n]+)")

_REQUEST = re.compile(rb"([A-Z]{1,20}) (/[!->@-~]{0,200})[!-~]* HTTP/1")


class Chunk(NamedTuple):
    """The bytes of one read, in one direction.

    Attributes:
        read_ns: the moment after the read.
        ancillary: the kernel's arrival stamp, see `arrival`.
        data: the bytes; never empty.
        handed_ns: the moment just before the last byte was handed on; 0 if it was not.
    """

    read_ns: int
    ancillary: Ancillary
    data: bytes
    handed_ns: int


class Stream(NamedTuple):
    """One direction of a connection.

    Attributes:
        chunks: the chunks in order.
        ended_ns: when its sender closed or reset it; 0 if it was still open.
    """

    chunks: tuple[Chunk, ...]
    ended_ns: int


def without_logins(stream: Stream) -> Stream:
    """An agent's bytes with asterisks, one for each byte, in place of the logins in its headers.

    The process that runs the tests keeps and reads the captured bytes; the server gets the original bytes.
    """
    whole = b"".join(chunk.data for chunk in stream.chunks)
    hidden = _LOGIN.sub(lambda match: match[1] + b"*" * len(match[2]), whole)
    if hidden == whole:
        return stream
    ends = list(accumulate((len(chunk.data) for chunk in stream.chunks), initial=0))
    chunks = [chunk._replace(data=hidden[a:b]) for chunk, (a, b) in zip(stream.chunks, pairwise(ends), strict=True)]
    return Stream(tuple(chunks), stream.ended_ns)


def request_line(data: bytes) -> str:
    r"""Method and path at the beginning of a request, without its query.

    >>> request_line(b"POST /api/chat?key=x HTTP/1.1\r\nHost: a\r\n"), request_line(b"\x16\x03")
    ('POST /api/chat', '')
    """
    match = _REQUEST.match(data)
    return f"{match[1].decode()} {match[2].decode()}" if match else ""


class CapturedConnection(NamedTuple):
    """One connection of an agent.

    Attributes:
        up: the stream from the agent to the server.
        down: the stream from the server to the agent.
        connect_ns, connected_ns: when the tap began to connect to the server, and when it was connected; 0 if it did
            not or was not.
        first_ns: when the agent's first bytes arrived; 0 if none did.
        given_up_ns: when the agent closed the connection before the barrier opened; 0 if it did not. The server got
            nothing of such a connection, and its bytes are not kept.
        given_up: method and path of the request that it closed the connection for; empty if it had sent none.
        fault: why the tap could not connect to the server; empty if it could, or did not try.
        marks: the marks that the agent sent on it; they are not in `up`, nor their answers in `down`.
    """

    up: Stream
    down: Stream
    connect_ns: int = 0
    connected_ns: int = 0
    first_ns: int = 0
    given_up_ns: int = 0
    given_up: str = ""
    fault: str = ""
    marks: tuple[Mark, ...] = ()


class CpuReading(NamedTuple):
    """CPU time of the tap's process at a moment of the part, counted from the barrier."""

    at_ns: int
    cpu_ns: int


class Capture(NamedTuple):
    """One part of a round, as the tap saw it.

    Attributes:
        start_ns: when the barrier opened; 0 if it did not.
        end_ns: when the part was over.
        before_ns, after_ns: `arrival.wall_offset_ns` at the beginning and end of the part.
        agents: the connections of each agent, in the order they were made.
        used: CPU time of the tap's process, at the barrier, with every beat, and at the end.
        beats: the beats of the tap's pulse.
    """

    start_ns: int
    end_ns: int
    before_ns: int
    after_ns: int
    agents: tuple[tuple[CapturedConnection, ...], ...]
    used: tuple[CpuReading, ...] = ()
    beats: tuple[Beat, ...] = ()

    def cpu_ns(self, until_ns: int) -> int:
        """CPU time of the tap from the barrier to that moment, interpolated between two beats."""
        for before, after in pairwise(self.used):
            if after.at_ns >= until_ns:
                share = (until_ns - before.at_ns) / max(1, after.at_ns - before.at_ns)
                return before.cpu_ns + round(max(0.0, share) * (after.cpu_ns - before.cpu_ns))
        return self.used[-1].cpu_ns if self.used else 0

    def lag_ns(self, until_ns: int) -> int:
        """The tap's scheduling lag (see `scheduling_lag`) from the barrier to that moment."""
        return lag_ns(self.beats, until_ns=until_ns)
