"""A process a client (the report's TR110): no client shares an interpreter with another, or with the test.

The barrier is a moment on the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection as Channel
from multiprocessing.connection import Pipe, wait
from typing import Any

from pytest_llmperf.errors import LlmperfError, MeasurementError
from pytest_llmperf.measure.runtimes.base import Clients, Part, Start
from pytest_llmperf.measure.wire import Request

LEAD_NS = 5_000_000
"""How far ahead the barrier's moment lies when it is told to the workers."""


class ProcessesRuntime:
    """See Runtime. Its workers start with the first part and are kept for the next ones."""

    name = "processes"

    def __init__(self) -> None:
        self._workers: list[_Worker] = []

    def run(self, clients: Clients, *, timeout_s: float) -> Part:
        """See Runtime."""
        try:
            while len(self._workers) < len(clients):
                self._workers.append(_Worker())
            workers = self._workers[: len(clients)]
            for worker, requests in zip(workers, clients, strict=True):
                worker.tell((tuple(requests), timeout_s))
            _answers(workers)
            start_ns = time.monotonic_ns() + LEAD_NS
            for worker in workers:
                worker.tell(start_ns)
            parts: Sequence[Part] = _answers(workers)
        except BaseException:
            self.close()  # a worker in the middle of a request can only be ended
            raise
        return Part(
            start_ns=start_ns,
            exchanges=tuple(part.exchanges[0] for part in parts),
            cpu_ns=sum(part.cpu_ns for part in parts),
        )

    def close(self) -> None:
        """Ends the workers."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.end()


class _Worker:
    """One process of `worker`, and our end of the channel to it."""

    def __init__(self) -> None:
        self.channel, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest_llmperf.measure.runtimes.worker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,  # a Ctrl-C in the terminal is ours to act on
        )
        theirs.close()

    def tell(self, order: object) -> None:
        """Sends it something; one that is dead does not answer later."""
        with suppress(OSError):
            self.channel.send(order)

    def end(self) -> None:
        """Ends it, whatever it does."""
        self.channel.close()
        self._process.kill()
        self._process.wait()


def _answers(workers: Sequence[_Worker]) -> list[Any]:
    """One answer of each, in their order.

    Raises:
        LlmperfError: the first that one of them sent instead.
    """
    answers: dict[Channel, Any] = {}
    while missing := [worker.channel for worker in workers if worker.channel not in answers]:
        for channel in wait(missing):
            assert isinstance(channel, Channel)
            try:
                answers[channel] = channel.recv()
            except (EOFError, OSError) as error:
                raise MeasurementError(
                    "a client process died", next_step="is the machine out of memory? or use --llmperf-runtime=threads"
                ) from error
            if isinstance(answers[channel], LlmperfError):
                raise answers[channel]
    return [answers[worker.channel] for worker in workers]


def serve(channel: Channel) -> None:
    """The worker's side: runs one client's requests for each order, until the channel ends."""
    with suppress(EOFError, OSError):
        while True:
            requests: tuple[Request, ...]
            requests, timeout_s = channel.recv()
            try:
                start = Start([requests], timeout_s=timeout_s, blocking=True)
                try:
                    channel.send("ready")
                    start.barrier(channel.recv())
                    start.finish(0)
                finally:
                    start.close()
                channel.send(start.part())
            except LlmperfError as error:
                channel.send(error)
