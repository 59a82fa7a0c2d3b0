"""The heartbeat: how late a client would have acted, at any moment of a part.

What bytes say of it is not enough: the kernel merges what waits and stamps it with the last arrival, so that to a
client that hardly runs everything looks fresh; and where arrivals are the times of the reads, there is no lag at all. A
beat, every 50 ms and in the same place as the clients, is late by as much as they are. More beats would tell no more,
and each takes as much processor time as a token.
"""

from __future__ import annotations

import time

from pytest_llmperf.measure.arrival import Clock

BEAT_NS = 50_000_000
BEAT_S = BEAT_NS / 1e9

_RANK = 0.9


class Pulse:
    """The beats of one part; call `beat` some BEAT_NS after `start`, or after the last `beat`.

    Args:
        clock: monotonic nanoseconds.
    """

    __slots__ = ("_clock", "_late_ns", "due_ns")

    def __init__(self, clock: Clock = time.monotonic_ns) -> None:
        self._clock = clock
        self._late_ns: list[int] = []
        self.due_ns = 0
        """When the next beat is to come."""

    def start(self) -> None:
        """The part begins."""
        self._late_ns.clear()
        self.due_ns = self._clock() + BEAT_NS

    def beat(self) -> None:
        """Notes by how much it is late; one before its time, as the last of a part is, says nothing."""
        now_ns = self._clock()
        if now_ns >= self.due_ns:
            self._late_ns.append(now_ns - self.due_ns)
        self.due_ns = now_ns + BEAT_NS

    def lag_ns(self) -> int:
        """The 90th percentile of how late the client would have acted; 0 where no beat was due.

        A beat that is late by several beats stands for those that could not come meanwhile: else a client that stands
        still for a second, again and again, would show one late beat for each of them.
        """
        moments = sorted(rest for late in self._late_ns for rest in range(late, -1, -BEAT_NS))
        return moments[int(_RANK * (len(moments) - 1))] if moments else 0
