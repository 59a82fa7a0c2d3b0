"""One direction of a connection through the tap, and the memory for what an agent's connections capture."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence

from pytest_llmperf.measure.tap.recording import Chunk, Stream
from pytest_llmperf.measure.wire.arrival import Ancillary


class Direction:
    """One direction: the bytes that wait to be handed on, those that were, and whether its sender has ended."""

    __slots__ = ("chunks", "closed", "ended_ns", "sink", "source", "waiting")

    def __init__(self) -> None:
        self.source: socket.socket | None = None
        self.sink: socket.socket | None = None
        self.waiting: deque[tuple[int, Ancillary, bytes, memoryview]] = deque()
        self.chunks: list[tuple[int, Ancillary, bytes, int]] = []  # as Chunk
        self.ended_ns = 0
        self.closed = False  # the end was passed on

    def stream(self) -> Stream:
        """The captured bytes, including those that could not be handed on."""
        rest = ((read_ns, ancillary, data, 0) for read_ns, ancillary, data, _ in self.waiting)
        return Stream(tuple(Chunk(*chunk) for chunk in (*self.chunks, *rest)), self.ended_ns)


def between_requests(up: Direction, down: Direction) -> bool:
    """Whether the next bytes of an agent begin a request, given that it waits for each answer."""
    return not up.waiting and (not up.chunks or (bool(down.chunks) and down.chunks[-1][0] >= up.chunks[-1][0]))


class Tally:
    """The memory for the captured bytes of one agent.

    Args:
        piece: memory for the bookkeeping of one read, bytes.
    """

    def __init__(self, piece: int) -> None:
        self.noted = 0
        self._piece = piece

    def add(self, size: int) -> None:
        """Counts a read of `size` bytes."""
        self.noted += size + self._piece

    def drop(self, sizes: Sequence[int]) -> None:
        """Removes reads of these sizes, which are not kept."""
        self.noted -= sum(sizes) + len(sizes) * self._piece
