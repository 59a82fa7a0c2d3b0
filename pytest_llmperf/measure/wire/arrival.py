"""When bytes arrived: the kernel's receive time on the monotonic clock, or the time of the read if there is none.

Linux stamps a packet when it arrives (`SO_TIMESTAMPNS`), no matter what the reading program is doing. The stamp uses
the wall clock; the offset between the two clocks, taken before and after a part of a round, maps it to the monotonic
clock. Bytes that waited together in the socket's queue have the stamp of the last of them.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

KERNEL = "kernel"
"""Arrivals are the kernel's receive times."""

READ = "read"
"""Arrivals are the times when the client read the bytes."""

ANCILLARY_BYTES = 64
"""Room for the stamp beside the bytes of one read; more than `CMSG_SPACE` of a timespec anywhere."""

STEP_NS = 50_000
"""A wall clock that moved by more than this against the monotonic one during a part was stepped."""

_SO_TIMESTAMPNS = 35 if sys.platform == "linux" else None  # asm-generic/socket.h; the same number marks the message
_TIMESPEC = struct.Struct("@ll")
_SAMPLES = 16

Clock = Callable[[], int]

Ancillary = Sequence[tuple[int, int, bytes]]


class Raw(NamedTuple):
    """One read, as it came; kept as a plain tuple while the clock runs.

    Attributes:
        read_ns: the moment after the read, monotonic.
        ancillary: what `recvmsg` gave beside the bytes.
        data: the bytes; empty at the end of the stream.
    """

    read_ns: int
    ancillary: Ancillary
    data: bytes


class Piece(NamedTuple):
    """Bytes with the moment they arrived.

    Attributes:
        arrival_ns: the moment that the last of these bytes arrived, monotonic.
        read_ns: the moment that the client had read them; the difference is the client's lag.
        data: the bytes.
    """

    arrival_ns: int
    read_ns: int
    data: bytes


def ask_for_kernel_time(sock: socket.socket) -> bool:
    """Makes the kernel stamp the bytes that arrive on a socket; False if it cannot."""
    if _SO_TIMESTAMPNS is None:
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def hold_kernel_time() -> socket.socket | None:
    """A socket that keeps the kernel stamping while it is open; None if the kernel cannot.

    Linux begins to stamp a moment after the first socket has asked for it, and stops with the last one: without a
    socket that stays open, the first bytes of every part might have no stamp.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if ask_for_kernel_time(sock):
        return sock
    sock.close()
    return None


def wall_offset_ns(clock: Clock = time.monotonic_ns, wall: Clock = time.time_ns) -> int:
    """Wall clock minus monotonic clock, ns: of several samples, the one taken in the shortest time."""
    best_ns, offset_ns = sys.maxsize, 0
    for _ in range(_SAMPLES):
        before_ns = clock()
        wall_ns = wall()
        after_ns = clock()
        if after_ns - before_ns < best_ns:
            best_ns, offset_ns = after_ns - before_ns, wall_ns - (before_ns + after_ns) // 2
    return offset_ns


def settle(raw: Sequence[Raw], before_ns: int, after_ns: int) -> tuple[tuple[Piece, ...], str]:
    """Reads become pieces with one source of time for all of them.

    Args:
        raw: the reads of one answer, in order.
        before_ns: `wall_offset_ns` before the reads.
        after_ns: `wall_offset_ns` after the reads.

    Returns:
        The pieces (without the empty end) and their source: KERNEL, or READ if a read has no stamp or the wall clock
        was stepped meanwhile. No arrival is later than its read or earlier than the arrival before it.
    """
    held = [read for read in raw if read.data]
    stamps = [stamp_ns(read.ancillary) for read in held]
    if not stamps or None in stamps or abs(after_ns - before_ns) > STEP_NS:
        return tuple(Piece(read.read_ns, read.read_ns, read.data) for read in held), READ
    offset_ns = min(before_ns, after_ns)  # nearly equal; the smaller never lets bytes arrive too early
    pieces, last_ns = [], 0
    for read, stamp in zip(held, stamps, strict=True):
        assert stamp is not None
        last_ns = max(last_ns, min(stamp - offset_ns, read.read_ns))
        pieces.append(Piece(last_ns, read.read_ns, read.data))
    return tuple(pieces), KERNEL


def stamp_ns(ancillary: Ancillary) -> int | None:
    """The kernel's stamp in what `recvmsg` gave, ns since the epoch; None if there is none."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return None


def expected_source(url: str) -> str:
    """The source of arrival times that an address will have here: KERNEL, or READ over TLS and on other systems."""
    with socket.socket() as probe:
        return KERNEL if not url.startswith("https:") and ask_for_kernel_time(probe) else READ
