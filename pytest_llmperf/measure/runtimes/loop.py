"""One event loop for all clients: asyncio's own, or uvloop's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pytest_llmperf.measure.arrival import Clock
from pytest_llmperf.measure.runtimes.base import Clients, Part, Start
from pytest_llmperf.measure.wire import Connection, Request

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_LOOPBACK = ("127.", "::1", "localhost")


class LoopRuntime:
    """See Runtime.

    Args:
        name: `asyncio` or `uvloop`.
        factory: makes a new loop for each part.
        clock: monotonic nanoseconds.
    """

    def __init__(self, name: str, factory: LoopFactory, *, clock: Clock = time.monotonic_ns) -> None:
        self.name = name
        self._factory = factory
        self._clock = clock

    def run(self, clients: Clients, *, timeout_s: float) -> Part:
        """See Runtime. Works where an event loop already runs in this thread, too: then in a thread of its own."""
        start = Start(clients, timeout_s=timeout_s, blocking=False, clock=self._clock)

        def work() -> Part:
            with asyncio.Runner(loop_factory=self._factory) as runner:
                return runner.run(self._part(start, timeout_s))

        try:
            part: Part = _outside_of_a_loop(work)
            return part
        finally:
            start.close()

    def close(self) -> None:
        """Nothing is kept."""

    async def _part(self, start: Start, timeout_s: float) -> Part:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(_client(client, timeout_s)) for client in start.connections]
        start.barrier()
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        for task in done:
            task.result()
        return start.part()


async def _client(connections: Sequence[Connection], timeout_s: float) -> None:
    """Sends the requests one after the other; the first connection is open."""
    for connection in connections:
        if connection is not connections[0]:
            await _open(connection)
        try:
            async with asyncio.timeout(timeout_s):
                await _until(connection.send, connection, writing=True)
                await _until(connection.receive, connection, writing=False)
        except TimeoutError as error:
            raise connection.failure(error) from None
        finally:
            connection.close()


async def _open(connection: Connection) -> None:
    """Connects: on this machine at once, elsewhere in a thread so that the other clients go on."""
    if _is_near(connection.request):
        connection.open(blocking=False)
    else:
        await asyncio.to_thread(connection.open, blocking=False)


def _is_near(request: Request) -> bool:
    return not request.tls and request.host.startswith(_LOOPBACK)


async def _until(step: Callable[[], bool], connection: Connection, *, writing: bool) -> None:
    """Takes steps, one whenever the socket is ready, until one says that it was the last."""
    if step():
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def ready() -> None:
        try:
            if step() and not ended.done():
                ended.set_result(None)
        except BaseException as error:
            if not ended.done():
                ended.set_exception(error)

    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    assert connection.sock is not None
    add(connection.sock, ready)
    try:
        await ended
    finally:
        remove(connection.sock)


def _outside_of_a_loop(work: Callable[[], Any]) -> Any:
    """Runs it here, or in a thread of its own where an event loop already runs in this one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.extend((True, work()))
        except BaseException as error:  # handed to the caller's thread
            outcome.extend((False, error))

    thread = threading.Thread(target=target, name="llmperf-loop")
    thread.start()
    thread.join()
    succeeded, value = outcome
    if succeeded:
        return value
    raise value
