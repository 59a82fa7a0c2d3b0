"""Turns: a client's request waits until the requests before it in the scenario's graph have ended."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from multiprocessing.connection import Connection as Channel

from pytest_llmperf.measure.wire.prepared_request import Request
from pytest_llmperf.model import Place, Step


def awaited(clients: Iterable[Sequence[Request]]) -> frozenset[Place]:
    """The requests that others wait for."""
    return frozenset(place for requests in clients for request in requests for place in request.step.waits_for)


class Turns:
    """For clients in threads of one process.

    Args:
        places: requests that others wait for; the ends of others are not kept.

    Attributes:
        places: the given places.
    """

    def __init__(self, places: Collection[Place]) -> None:
        self.places = places
        self._ended: set[Place] = set()
        self._changed = threading.Condition()
        self._given_up = False

    def wait(self, step: Step) -> bool:
        """Waits until the request may be sent; False: the part was given up meanwhile."""
        self._wait_for_ends(step.waits_for)
        return self._pause(step.think_ns)

    def end(self, place: Place, step: Step) -> bool:
        """Notes that a request has ended, after its tools; False: the part was given up meanwhile."""
        if not self._pause(step.tool_ns):
            return False
        if place in self.places:
            self._announce(place)
        return True

    def give_up(self) -> None:
        """Wakes all who wait."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()

    def _wait_for_ends(self, places: Collection[Place]) -> None:
        if places:
            with self._changed:
                self._changed.wait_for(lambda: self._given_up or self._ended.issuperset(places))

    def _announce(self, place: Place) -> None:
        with self._changed:
            self._ended.add(place)
            self._changed.notify_all()

    def _pause(self, pause_ns: int) -> bool:
        if pause_ns:
            with self._changed:
                self._changed.wait_for(lambda: self._given_up, timeout=pause_ns / 1e9)
        return not self._given_up


class RelayedTurns(Turns):
    """For the only client of a process: the parent sends the ends of other requests and receives the client's own.

    Args:
        places: as for Turns, with the client's index in this process.
        channel: the channel to the parent.
    """

    def __init__(self, places: Collection[Place], channel: Channel) -> None:
        super().__init__(places)
        self._channel = channel

    def _wait_for_ends(self, places: Collection[Place]) -> None:
        while not self._ended.issuperset(places):
            self._ended.add(self._channel.recv())

    def _announce(self, place: Place) -> None:
        self._channel.send(Ended(place[1]))


class Ended(int):
    """The position of a request that has ended, from a client's process."""
