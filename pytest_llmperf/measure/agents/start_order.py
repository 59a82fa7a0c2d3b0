"""The order in which agents start, so that none waits long at the barrier for another to start up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

QUICK_NS = 300_000_000
"""An agent that starts up in less waits until the slow ones are there: they wait for it for no longer than that."""

_OVERDUE_NS = 2_000_000_000


class Starting(NamedTuple):
    """An agent that has been started.

    Attributes:
        start_up_ns: how long it usually takes to its first request.
        since_ns: since its start.
        arrived: whether it has sent it.
    """

    start_up_ns: int
    since_ns: int
    arrived: bool

    @property
    def overdue(self) -> bool:
        """Whether it takes too long to be waited for; it may itself wait for an agent that is not started yet."""
        return self.since_ns > 2 * self.start_up_ns + _OVERDUE_NS


class _Starts(Protocol):
    @property
    def start_up_ns(self) -> int: ...


_S = TypeVar("_S", bound=_Starts)


def in_order(agents: Sequence[_S]) -> list[_S]:
    """The agents, the slowest to start up first."""
    return sorted(agents, key=lambda agent: -agent.start_up_ns)


def may_start(start_up_ns: int, started: Sequence[Starting]) -> bool:
    """Whether the next agent, `in_order`, should start now.

    A quick one starts when the slow ones have arrived; a slow one, when it would arrive together with them.

    Args:
        start_up_ns: how long it takes to its first request.
        started: all that were started before it.
    """
    return all(
        starting.start_up_ns < QUICK_NS
        or starting.arrived
        or starting.overdue
        or (start_up_ns >= QUICK_NS and starting.since_ns + start_up_ns >= starting.start_up_ns)
        for starting in started
    )
