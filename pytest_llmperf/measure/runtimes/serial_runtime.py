"""A bad runtime, on purpose: one client after the other, as a library does that has but one connection for all."""

from __future__ import annotations

import time

from pytest_llmperf.measure.runtimes.runtime import Clients, Part, Start
from pytest_llmperf.measure.wire.arrival import Clock
from pytest_llmperf.model import SERIAL


class SerialRuntime:
    """See Runtime. Every client's clock starts at the barrier; each sends when the one before it has its answers.

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
            for client in range(len(clients)):
                start.finish(client)
        finally:
            start.close()
        return start.part()

    def close(self) -> None:
        """Nothing is kept."""
