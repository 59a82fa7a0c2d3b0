"""The scheduling lag of a client: how late it would have acted at any moment of a part, measured by a heartbeat.

The arrival times do not show it: the kernel merges waiting bytes and stamps them with the last arrival, so that a
client that hardly runs seems to be up to date; and if arrivals are the times of the reads, there is no lag at all. A
beat every 50 ms, in the same thread as the clients, is as late as they are. More beats would show no more, and each
takes as much processor time as a token.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmperf.measure.wire.arrival import Clock

BEAT_NS = 50_000_000
BEAT_S = BEAT_NS / 1e9

_RANK = 0.9


class Beat(NamedTuple):
    """One beat: when it was due, and how late it came."""

    due_ns: int
    late_ns: int


class Pulse:
    """The beats of one part; call `beat` some BEAT_NS after `start`, or after the last `beat`.

    Args:
        clock: monotonic nanoseconds.
    """

    __slots__ = ("_beats", "_clock", "due_ns")

    def __init__(self, clock: Clock = time.monotonic_ns) -> None:
        self._clock = clock
        self._beats: list[Beat] = []
        self.due_ns = 0
        """When the next beat is to come."""

    def start(self) -> None:
        """The part begins."""
        self._beats.clear()
        self.due_ns = self._clock() + BEAT_NS

    def beat(self) -> None:
        """Notes by how much it is late; one before its time, as the last of a part is, says nothing."""
        now_ns = self._clock()
        if now_ns >= self.due_ns:
            self._beats.append(Beat(self.due_ns, now_ns - self.due_ns))
        self.due_ns = now_ns + BEAT_NS

    def beats(self) -> tuple[Beat, ...]:
        """All of the part so far."""
        return tuple(self._beats)

    def lag_ns(self) -> int:
        """See `lag_ns`."""
        return lag_ns(self._beats)


def lag_ns(beats: Sequence[Beat], *, until_ns: int | None = None) -> int:
    """The 90th percentile of how late the client would have acted; 0 if no beat was due.

    A beat that is late by several intervals counts for each of the missed beats: else a client that stops for a second
    again and again would show only one late beat for each stop.

    Args:
        beats: the beats of a part.
        until_ns: only moments up to this one count; None counts all.
    """
    moments = sorted(
        late_ns - gone_ns
        for due_ns, late_ns in beats
        for gone_ns in range(0, late_ns + 1, BEAT_NS)
        if until_ns is None or due_ns + gone_ns <= until_ns
    )
    return moments[int(_RANK * (len(moments) - 1))] if moments else 0
