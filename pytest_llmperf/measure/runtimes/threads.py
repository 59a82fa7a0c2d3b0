"""A thread a client, each in a blocking read: one system call a chunk, nothing else runs."""

from __future__ import annotations

import threading
import time

from pytest_llmperf.measure.arrival import Clock
from pytest_llmperf.measure.runtimes.base import Clients, Part, Start


class ThreadsRuntime:
    """See Runtime.

    Args:
        clock: monotonic nanoseconds.
    """

    name = "threads"

    def __init__(self, *, clock: Clock = time.monotonic_ns) -> None:
        self._clock = clock

    def run(self, clients: Clients, *, timeout_s: float) -> Part:
        """See Runtime."""
        start = Start(clients, timeout_s=timeout_s, blocking=True, clock=self._clock)
        opened, failures = threading.Event(), list[BaseException]()

        def client(index: int) -> None:
            try:
                opened.wait()
                start.finish(index, given_up=lambda: bool(failures))
            except BaseException as error:  # handed to the caller's thread
                failures.append(error)
                start.abort()

        threads = [threading.Thread(target=client, args=(one,), name="llmperf-client") for one in range(len(clients))]
        try:
            for thread in threads:
                thread.start()
            start.barrier()
            opened.set()
            for thread in threads:
                thread.join()
        except BaseException as error:  # a Ctrl-C, or a first request that could not be sent
            failures.insert(0, error)
            start.abort()
            opened.set()
        finally:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            start.close()
        if failures:
            raise failures[0]
        return start.part()

    def close(self) -> None:
        """Nothing is kept."""
