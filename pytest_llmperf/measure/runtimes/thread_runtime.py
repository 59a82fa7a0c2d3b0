"""A thread a client, each in a blocking read: one system call a chunk, nothing else runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from pytest_llmperf.measure.runtimes.runtime import Clients, Part, Start
from pytest_llmperf.measure.waiting import until
from pytest_llmperf.measure.wire.arrival import Clock
from pytest_llmperf.measure.wire.scheduling_lag import BEAT_S


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
        start = Start(clients, timeout_s=timeout_s, clock=self._clock)
        try:
            return perform(start)
        finally:
            start.close()

    def close(self) -> None:
        """Nothing is kept."""


def perform(start: Start, *, told: Callable[[], int] = lambda: 0) -> Part:
    """Runs the clients, each in a thread; this one waits for them and keeps the pulse, in the same interpreter.

    Args:
        start: its first connections open.
        told: asked, when the threads are there, for the moment of `Start.barrier`.

    Raises:
        MeasurementError: a request failed; the others were given up.
    """
    opened, failures = threading.Event(), list[BaseException]()
    busy = [threading.Lock() for _ in start.connections]  # a lock, and no event: it takes the least to wait for
    for lock in busy:
        lock.acquire()

    def client(index: int) -> None:
        try:
            opened.wait()
            start.finish(index, given_up=lambda: bool(failures))
        except BaseException as error:  # handed to the caller's thread
            failures.append(error)
            start.abort()
        finally:
            busy[index].release()

    threads = [
        threading.Thread(target=client, args=(index,), name="llmperf-client") for index in range(len(start.connections))
    ]
    try:
        for thread in threads:
            thread.start()
        start.barrier(told())
        opened.set()
        for lock in busy:
            until(partial(lock.acquire, True), every_s=BEAT_S, beat=start.pulse.beat)
        start.pulse.beat()
    except BaseException as error:  # a Ctrl-C, or a first request that could not be sent
        failures.insert(0, error)
    finally:
        opened.set()  # before all else: no thread may wait for it for ever
        if failures:
            start.abort()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    if failures:
        raise failures[0]
    return start.part()
