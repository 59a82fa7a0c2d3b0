"""A process a client (the report's TR110): no client shares an interpreter with another, or with the test.

The barrier is a moment on the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection as Channel
from multiprocessing.connection import Pipe, wait
from typing import Any

from pytest_llmperf.errors import LlmperfError, MeasurementError
from pytest_llmperf.measure.runtimes.runtime import Clients, Part, Start
from pytest_llmperf.measure.runtimes.thread_runtime import perform
from pytest_llmperf.measure.runtimes.turns import Ended, RelayedTurns, awaited
from pytest_llmperf.measure.waiting import until
from pytest_llmperf.measure.wire.prepared_request import Request
from pytest_llmperf.measure.wire.request_connection import CONNECT_S

LEAD_NS = 2_500_000
"""How far ahead the barrier is scheduled, for each worker: workers are notified in turn and share the cores."""

_START_S = 60.0  # for a worker's interpreter, on a busy machine


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
            places = awaited(clients)
            for client, (worker, requests) in enumerate(zip(workers, clients, strict=True)):
                others_wait_for = frozenset((0, position) for waited, position in places if waited == client)
                worker.tell((tuple(requests), timeout_s, others_wait_for))
            _answers(workers, _START_S + CONNECT_S)
            start_ns = time.monotonic_ns() + lead_ns(len(workers)) if len(workers) > 1 else 0  # one starts when it can
            for worker in workers:
                worker.tell(start_ns)
            parts: Sequence[Part] = _answers(
                workers, limit_s(clients, timeout_s), relay=partial(_relay, workers, clients)
            )
        except BaseException:
            self.close()  # a worker in the middle of a request can only be ended
            raise
        return Part(
            start_ns=start_ns or parts[0].start_ns,
            exchanges=tuple(part.exchanges[0] for part in parts),
            cpu_ns=tuple(part.cpu_ns[0] for part in parts),
            lag_ns=tuple(part.lag_ns[0] for part in parts),
        )

    def close(self) -> None:
        """Ends the workers."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.end()


def lead_ns(workers: int) -> int:
    """How far in advance the barrier is announced to this number of workers."""
    return LEAD_NS * workers


class _Worker:
    """One process of `worker`, and the parent's end of the channel to it."""

    def __init__(self) -> None:
        self.channel, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pytest_llmperf.measure.runtimes.client_worker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,  # only this process handles a Ctrl-C in the terminal
        )
        theirs.close()

    def tell(self, order: object) -> None:
        """Sends it something; one that is dead does not answer later."""
        with suppress(OSError):
            self.channel.send(order)

    def end(self) -> None:
        """Kills the process."""
        self.channel.close()
        self._process.kill()
        self._process.wait()


def limit_s(clients: Clients, timeout_s: float) -> float:
    """The longest time that a part can take: in a graph, one request after the other."""
    steps = [request.step for requests in clients for request in requests]
    count = len(steps) if awaited(clients) else max(map(len, clients))
    return count * (timeout_s + CONNECT_S) + CONNECT_S + sum(step.think_ns + step.tool_ns for step in steps) / 1e9


def _relay(workers: Sequence[_Worker], clients: Clients, client: int, position: int) -> None:
    """Tells those whose requests wait for this one that it has ended."""
    for worker, requests in zip(workers, clients, strict=True):
        if any((client, position) in request.step.waits_for for request in requests):
            worker.tell((client, position))


def _answers(
    workers: Sequence[_Worker], limit_s: float, *, relay: Callable[[int, int], None] = lambda _, __: None
) -> list[Any]:
    """One answer of each, in their order; until then, hands on what they tell each other.

    Raises:
        LlmperfError: the first error that a process sent; or a process died, or did not answer in time.
    """
    answers: dict[Channel, Any] = {}
    until_s = time.monotonic() + limit_s
    while missing := [worker.channel for worker in workers if worker.channel not in answers]:
        for channel in _ready(missing, until_s):
            try:
                answer = channel.recv()
            except (EOFError, OSError) as error:
                raise MeasurementError(
                    "a client process died", next_step="is the machine out of memory? or use --llmperf-runtime=threads"
                ) from error
            if isinstance(answer, LlmperfError):
                raise answer
            if isinstance(answer, Ended):
                relay([worker.channel for worker in workers].index(channel), int(answer))
            else:
                answers[channel] = answer
    return [answers[worker.channel] for worker in workers]


def _ready(channels: Sequence[Channel], until_s: float) -> list[Channel]:
    """Waits until a channel has a message, and returns all channels that have one.

    Raises:
        MeasurementError: none had until that moment.
    """
    ready: list[Any] = []

    def some(wait_s: float) -> bool:
        ready.extend(wait(channels, wait_s))
        return bool(ready) or time.monotonic() > until_s

    until(some)
    if not ready:
        raise MeasurementError(
            "a client process does not answer: it hangs or is stopped", next_step="use --llmperf-runtime=threads"
        )
    return ready


def serve(channel: Channel) -> None:
    """The worker's side: runs one client's requests for each order, until the channel ends."""
    with suppress(EOFError, OSError):
        while True:
            requests: tuple[Request, ...]
            requests, timeout_s, places = channel.recv()
            try:
                start = Start([requests], timeout_s=timeout_s, turns=RelayedTurns(places, channel))
                try:
                    channel.send("ready")
                    part = perform(start, told=channel.recv)
                finally:
                    start.close()
                channel.send(part)
            except LlmperfError as error:
                channel.send(error)
