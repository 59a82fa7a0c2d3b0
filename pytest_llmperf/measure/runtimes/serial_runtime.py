"""A bad runtime, on purpose: one client after the other, as a library does that has but one connection for all."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pytest_llmperf.measure.runtimes.runtime import Clients, Part, Start
from pytest_llmperf.measure.wire.arrival import Clock
from pytest_llmperf.model import SERIAL, Step


class SerialRuntime:
    """See Runtime. Every client's clock starts at the barrier; each sends when the one before it has its answers.

    In a graph the first client goes on that need not wait for another.

    Args:
        clock: monotonic nanoseconds.
    """

    name = SERIAL

    def __init__(self, *, clock: Clock = time.monotonic_ns) -> None:
        self._clock = clock

    def run(self, clients: Clients, *, timeout_s: float) -> Part:
        """See Runtime."""
        start = Start(clients, timeout_s=timeout_s, clock=self._clock)
        try:
            start.begin()
            done = [0] * len(clients)
            while left := [client for client, requests in enumerate(clients) if done[client] < len(requests)]:
                client = next(client for client in left if _may_go_on(clients[client][done[client]].step, done))
                start.step(client, done[client])
                done[client] += 1
        finally:
            start.close()
        return start.part()

    def close(self) -> None:
        """Nothing is kept."""


def _may_go_on(step: Step, done: Sequence[int]) -> bool:
    """Whether every request that the step waits for has ended; `done` counts each client's ended requests."""
    return all(position < done[client] for client, position in step.waits_for)
