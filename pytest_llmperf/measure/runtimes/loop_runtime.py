"""One event loop for all clients: asyncio's own, or uvloop's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address

from pytest_llmperf.measure.runtimes.runtime import Clients, Part, Start
from pytest_llmperf.measure.waiting import end, run_on_loop
from pytest_llmperf.measure.wire.arrival import Clock
from pytest_llmperf.measure.wire.request_connection import Address, Connection
from pytest_llmperf.measure.wire.scheduling_lag import BEAT_S
from pytest_llmperf.model import Place

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


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
        """See Runtime. If an event loop already runs in this thread, it uses a thread of its own."""
        start = Start(clients, timeout_s=timeout_s, clock=self._clock)
        try:
            return run_on_loop(lambda: _part(start, timeout_s), self._factory)
        finally:
            start.close()

    def close(self) -> None:
        """Nothing is kept."""


async def _part(start: Start, timeout_s: float) -> Part:
    loop = asyncio.get_running_loop()
    ends = {place: asyncio.Event() for place in start.turns.places}
    tasks = [loop.create_task(_client(client, start, ends, timeout_s)) for client in range(len(start.connections))]
    start.barrier()
    _keep_beating(loop, start.pulse.beat)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        start.pulse.beat()
        for task in filter(done.__contains__, tasks):
            task.result()
    except BaseException:
        start.abort()  # also what a thread is connecting: nobody waits for that
        raise
    finally:
        await end(tasks)
    return start.part()


def _keep_beating(loop: asyncio.AbstractEventLoop, beat: Callable[[], None]) -> None:
    """Until the loop is closed."""

    def again() -> None:
        beat()
        loop.call_later(BEAT_S, again)

    loop.call_later(BEAT_S, again)


async def _client(client: int, start: Start, ends: Mapping[Place, asyncio.Event], timeout_s: float) -> None:
    """Sends the requests one after the other; the first connection is open, unless it waits for other clients."""
    for position, connection in enumerate(start.connections[client]):
        step = connection.request.step
        for place in step.waits_for:
            await ends[place].wait()
        await _pause(step.think_ns)
        if position or not connection.request.at_barrier:
            await _open(connection, start.address(connection))
        try:
            async with asyncio.timeout(timeout_s):
                await _until(connection.send, connection, writing=True)
                await _until(connection.receive, connection, writing=False)
        except TimeoutError as error:
            raise connection.failure(error) from None
        finally:
            connection.close()
        await _pause(step.tool_ns)
        if (client, position) in ends:
            ends[client, position].set()


async def _pause(pause_ns: int) -> None:
    if pause_ns:  # without one, the loop's other work does not come in between
        await asyncio.sleep(pause_ns / 1e9)


async def _open(connection: Connection, address: Address | None) -> None:
    """Connects: on this machine at once, elsewhere in a thread so that the other clients go on."""
    if address is not None and _is_near(address) and not connection.request.tls:
        connection.open(address)
    else:
        await asyncio.to_thread(connection.open, address)


def _is_near(address: Address) -> bool:
    """Whether it is on this machine, so that a connection is accepted or refused at once."""
    return ip_address(address[1][0]).is_loopback


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
