"""The dependence of requests, inferred from their times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """From a request to the end of its answer."""

    sent_ns: int
    done_ns: int


def inferred_edges(
    intervals: Sequence[Interval], may_wait: Callable[[int, int], bool]
) -> list[tuple[tuple[int, ...], float]]:
    """The requests that each request waited for, and the pause after them, ms; without any, since the first request.

    A request waits for all that had ended when it was sent, among those that it may wait for. Those that they waited
    for in turn are left out.

    Args:
        intervals: the intervals of the requests, in the order sent.
        may_wait: whether a request (by index) may wait for an earlier one.

    >>> inferred_edges([Interval(0, 10), Interval(12, 20), Interval(13, 30), Interval(34, 40)], lambda *_: True)[3]
    ((1, 2), 4e-06)
    """
    before: list[int] = []  # a bit for each request that it waits for, directly or not
    edges = []
    for index, (sent_ns, _) in enumerate(intervals):
        direct, covered = [], 0
        for earlier in reversed(range(index)):
            if not covered >> earlier & 1 and intervals[earlier].done_ns <= sent_ns and may_wait(index, earlier):
                direct.append(earlier)
                covered |= 1 << earlier | before[earlier]
        before.append(covered)
        since_ns = max((intervals[earlier].done_ns for earlier in direct), default=intervals[0].sent_ns)
        edges.append((tuple(sorted(direct)), (sent_ns - since_ns) / 1e6))
    return edges
