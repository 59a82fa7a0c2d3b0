"""Slots handed out strictly in the order of asking."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """A counter of free slots with a queue of waiters; asyncio's own semaphore does not promise the order."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return sum(not waiter.done() for waiter in self._waiting)

    async def take(self) -> None:
        """Waits for its turn; cancelling gives the place in the queue, or the slot just given, back."""
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()  # the turn came in the same moment as the cancellation
            else:
                self._waiting.remove(turn)
            raise

    def give(self) -> None:
        """Frees a slot: the longest waiting has it next."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
