"""Turns of clients that are spread over several hosts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from pytest_llmperf.measure.runtimes.turns import Turns
from pytest_llmperf.model import Place, Step


class HostTurns(Turns):
    """For the clients of one host, which are some of a part's clients.

    Args:
        places: requests that others wait for, with the clients' numbers in the part.
        numbers: of this host's clients in the part, in their order here.
        tell: tells the other hosts that a request has ended.
    """

    def __init__(self, places: Collection[Place], numbers: Sequence[int], tell: Callable[[Place], None]) -> None:
        super().__init__(places)
        self._numbers = numbers
        self._tell = tell

    def end(self, place: Place, step: Step) -> bool:
        """See Turns; the place has the client's number on this host."""
        client, position = place
        return super().end((self._numbers[client], position), step)

    def hear(self, place: Place) -> None:
        """Notes that a request of another host has ended."""
        super()._announce(place)

    def _announce(self, place: Place) -> None:
        super()._announce(place)
        self._tell(place)
