"""Loads, reloads and unloads the one model, as Ollama's scheduler does: one change at a time, in order of asking.

A request that the loaded model can serve takes it at once and waits only for a slot. One that needs another load
waits in the scheduler's queue until the running requests are done; the queue has a limit, the slots have none.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pytest_llmperf.servers.emulator.api.request_options import RequestError
from pytest_llmperf.servers.emulator.api.slot_queue import Slots
from pytest_llmperf.servers.emulator.engine import Engine, LoadOptions, effective_num_ctx

_log = logging.getLogger(__name__)

BUSY = "server busy, please try again.  maximum pending requests exceeded"
DEFAULT_MAX_QUEUE = 512
DEFAULT_KEEP_ALIVE_S = 300.0


class Loaded:
    """The model as it is loaded now: its options, its slots, its users, and when it will be unloaded."""

    def __init__(self, options: LoadOptions, *, num_ctx: int, slots: int, keep_alive_s: float) -> None:
        self.options = options
        self.num_ctx = num_ctx
        self.slots = Slots(slots)
        self.keep_alive_s = keep_alive_s
        self.users = 0
        self.going = False
        """Being unloaded: still listed, but of no use to anybody."""
        self.lost = False
        """Its runner has died: still listed, and loaded anew for the next request."""
        self.expires_at_s = math.inf
        self.timer: asyncio.TimerHandle | None = None

    def needs_reload(self, wanted: LoadOptions, num_ctx: int) -> bool:
        """Whether the request needs the model loaded otherwise; a negative `num_gpu` is content with any."""
        have = self.options
        return (
            self.lost
            or num_ctx != self.num_ctx
            or wanted.num_batch != have.num_batch
            or (wanted.num_gpu >= 0 and wanted.num_gpu != have.num_gpu)
            or wanted.main_gpu != have.main_gpu
            or wanted.use_mmap != have.use_mmap
            or wanted.num_thread != have.num_thread
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    options: LoadOptions
    keep_alive_s: float | None
    turn: asyncio.Future[Loaded]


class Scheduler:
    """Owns the engine; used from one event loop only.

    Args:
        engine: not yet loaded.
        max_queue: maximum number of requests that may wait for a load.
        keep_alive_s: how long an unused model stays loaded when no request says otherwise; may be infinite.
        wall_clock: seconds since the epoch, for `expires_at`.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_queue: int = DEFAULT_MAX_QUEUE,
        keep_alive_s: float = DEFAULT_KEEP_ALIVE_S,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.engine = engine
        self.loaded: Loaded | None = None
        self.workers = ThreadPoolExecutor(max_workers=engine.slots + 1, thread_name_prefix="engine")
        self._max_queue = max_queue
        self._keep_alive_s = keep_alive_s
        self._wall_clock = wall_clock
        self._pending: deque[_Pending] = deque()
        self._in_hand = False
        self._runner: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._changing = asyncio.Lock()
        self._unloads: set[asyncio.Task[None]] = set()

    async def acquire(self, options: LoadOptions, keep_alive_s: float | None) -> Loaded:
        """The model, loaded with these options; to be given back with `release`.

        Raises:
            RequestError: 503, too many wait already.
            EngineError: it could not be loaded.
        """
        loaded = self.loaded
        num_ctx = effective_num_ctx(options, self.engine.card)
        if loaded and not loaded.going and self._runner is None and not loaded.needs_reload(options, num_ctx):
            return self._use(loaded, keep_alive_s)
        if len(self._pending) >= self._max_queue + (not self._in_hand):  # the one in hand waits in no queue
            raise RequestError(BUSY, status=503)
        turn: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(options=options, keep_alive_s=keep_alive_s, turn=turn))
        if self._runner is None:
            self._runner = asyncio.create_task(self._serve_pending())
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.release(turn.result())
            raise

    def release(self, loaded: Loaded) -> None:
        """Ends one use: the last one starts the time that the model stays loaded."""
        loaded.users -= 1
        if loaded.users == 0:
            self._idle.set()
            self._arm(loaded)

    def expire(self) -> None:
        """Asks for the model to be unloaded as soon as no request uses it; does not wait."""
        if self.loaded is not None:
            self.loaded.keep_alive_s = 0.0
            if self.loaded.users == 0:
                self._arm(self.loaded)

    def lose(self) -> None:
        """Kills the loaded model without unloading it."""
        if self.loaded is not None:
            self.loaded.lost = True

    def _use(self, loaded: Loaded, keep_alive_s: float | None) -> Loaded:
        loaded.users += 1
        self._idle.clear()
        if loaded.timer is not None:
            loaded.timer.cancel()
            loaded.timer = None
        if keep_alive_s is not None:
            loaded.keep_alive_s = keep_alive_s
        loaded.expires_at_s = self._wall_clock() + loaded.keep_alive_s
        return loaded

    def _arm(self, loaded: Loaded) -> None:
        if loaded.timer is not None:
            loaded.timer.cancel()
            loaded.timer = None
        loaded.expires_at_s = self._wall_clock() + loaded.keep_alive_s
        if loaded.keep_alive_s <= 0:
            self._start_unload(loaded)
        elif math.isfinite(loaded.keep_alive_s):
            loop = asyncio.get_running_loop()
            loaded.timer = loop.call_later(loaded.keep_alive_s, self._start_unload, loaded)

    def _start_unload(self, loaded: Loaded) -> None:
        task = asyncio.create_task(self._unload_if_unused(loaded))
        self._unloads.add(task)
        task.add_done_callback(self._unloads.discard)

    async def _unload_if_unused(self, loaded: Loaded) -> None:
        async with self._changing:
            if self.loaded is loaded and loaded.users == 0:
                await self._unload(loaded)

    async def _serve_pending(self) -> None:
        """Serves the queue of loads, one after the other, until it is empty."""
        try:
            while self._pending:
                request = self._pending.popleft()
                if request.turn.done():
                    continue
                self._in_hand = True
                try:
                    loaded = await self._load_for(request)
                except Exception as error:
                    if not request.turn.done():
                        request.turn.set_exception(error)
                    continue
                finally:
                    self._in_hand = False
                if not request.turn.done():
                    request.turn.set_result(self._use(loaded, request.keep_alive_s))
                elif loaded.users == 0:  # its client went away meanwhile
                    self._arm(loaded)
        finally:
            self._runner = None

    async def _load_for(self, request: _Pending) -> Loaded:
        """The model loaded as this request needs it; waits for requests that use it with other options."""
        num_ctx = effective_num_ctx(request.options, self.engine.card)
        while True:
            loaded = self.loaded
            if loaded is not None and loaded.needs_reload(request.options, num_ctx) and loaded.users:
                await self._idle.wait()
            async with self._changing:
                loaded = self.loaded
                if loaded is not None and not loaded.needs_reload(request.options, num_ctx):
                    return loaded
                if loaded is not None:
                    if loaded.users:
                        continue
                    await self._unload(loaded)
                return await self._load(request.options, num_ctx)

    async def _load(self, options: LoadOptions, num_ctx: int) -> Loaded:
        began_ns = time.monotonic_ns()
        await asyncio.get_running_loop().run_in_executor(self.workers, self.engine.load, options)
        _log.info("loaded with %s in %.3f s", options, (time.monotonic_ns() - began_ns) / 1e9)
        self.loaded = Loaded(options, num_ctx=num_ctx, slots=self.engine.slots, keep_alive_s=self._keep_alive_s)
        return self.loaded

    async def _unload(self, loaded: Loaded) -> None:
        if loaded.timer is not None:
            loaded.timer.cancel()
        loaded.going = True
        try:
            await asyncio.get_running_loop().run_in_executor(self.workers, self.engine.unload)
        finally:
            self.loaded = None  # only now: who polls /api/ps waits until its memory is free
        _log.info("unloaded")
