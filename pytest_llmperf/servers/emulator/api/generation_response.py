"""Answers a request for text: acquires the model, waits for a slot, runs the engine, writes lines or one object."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from pytest_llmperf.servers.emulator.api.answer_forms import Ending, Form, Part, compact
from pytest_llmperf.servers.emulator.api.model_scheduler import Loaded, Scheduler
from pytest_llmperf.servers.emulator.api.request_bodies import GenerationRequest
from pytest_llmperf.servers.emulator.api.request_options import RequestError
from pytest_llmperf.servers.emulator.engine import Completion, EngineError, Job, Piece, most_tokens

Clock = Callable[[], int]


class GenerationResponse:
    """The ASGI answer to one request; a client that goes away ends the generation and frees the slot.

    Args:
        request: what is asked.
        scheduler: the scheduler of the model.
        clock: monotonic nanoseconds.
        started_ns: when the request's handler began, on that clock.
    """

    def __init__(self, request: GenerationRequest, scheduler: Scheduler, *, started_ns: int, clock: Clock) -> None:
        self._request = request
        self._scheduler = scheduler
        self._clock = clock
        self._started_ns = started_ns

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Runs the answer until it is written or the client is gone."""
        answer = asyncio.create_task(self._answer(send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answer, gone):
                task.cancel()
            results = await asyncio.gather(answer, gone, return_exceptions=True)
        # a write to a client that has just gone is no fault of the server
        if isinstance(results[0], Exception) and not isinstance(results[0], OSError):
            raise results[0]

    async def _answer(self, send: Send) -> None:
        form = self._request.form
        writer = _Writer(send, form)
        try:
            if self._request.stream and self._request.job is not None:  # loading has one answer, never a stream
                async with aclosing(self._parts()) as parts:  # closed at once, also when cancelled
                    async for part in parts:
                        await writer.write(form.end(part) if isinstance(part, Ending) else form.piece(part))
                await writer.end()
            else:
                await writer.whole(await self._joined())
        except (EngineError, RequestError) as error:
            await writer.error(str(error), error.status)

    async def _joined(self) -> Part:
        """All parts as one."""
        pieces: list[Piece] = []
        ending = Ending(reason="")
        async with aclosing(self._parts()) as parts:
            async for part in parts:
                if isinstance(part, Ending):
                    ending = part
                else:
                    pieces.append(part)
        return self._request.form.whole(pieces, ending)

    async def _parts(self) -> AsyncGenerator[Piece | Ending, None]:
        """The pieces of the answer in order, then its end."""
        request, scheduler = self._request, self._scheduler
        if request.job is None and request.keep_alive_s == 0:
            scheduler.expire()
            yield Ending(reason="unload")
            return
        loaded = await scheduler.acquire(request.load, request.keep_alive_s)
        load_ns = self._clock() - self._started_ns
        if request.job is None:
            scheduler.release(loaded)
            yield Ending(reason="load")
            return
        generation = _Generation(_capped(request.job, loaded.num_ctx), scheduler, loaded)
        try:
            await generation.start()
            async for piece in generation.pieces():
                yield piece
        finally:
            generation.cancel()
        done = generation.completion()
        total_ns = self._clock() - self._started_ns
        yield Ending(reason=done.done_reason, completion=done, total_ns=total_ns, load_ns=load_ns)


class _Generation:
    """One job in an engine thread, holding one use of the model and, once it has its turn, one slot.

    Both are given back when the thread has ended, however it ended, and not before: a cancelled generation
    occupies its slot until the engine has really stopped.
    """

    def __init__(self, job: Job, scheduler: Scheduler, loaded: Loaded) -> None:
        self._job = job
        self._scheduler = scheduler
        self._loaded = loaded
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._cancelled = threading.Event()
        self._thread: asyncio.Future[Completion] | None = None

    async def start(self) -> None:
        """Waits for a slot, then starts the engine."""
        try:
            await self._loaded.slots.take()
        except asyncio.CancelledError:
            self._scheduler.release(self._loaded)
            raise
        self._thread = self._loop.run_in_executor(self._scheduler.workers, self._run)
        self._thread.add_done_callback(self._ended)

    async def pieces(self) -> AsyncIterator[Piece]:
        """Each piece as the engine emits it."""
        while (piece := await self._pieces.get()) is not None:
            yield piece

    def completion(self) -> Completion:
        """The outcome, after `pieces` has ended. Raises EngineError."""
        assert self._thread is not None
        return self._thread.result()

    def cancel(self) -> None:
        """Stops the engine, if it still runs."""
        self._cancelled.set()

    def _run(self) -> Completion:
        try:
            return self._scheduler.engine.generate(self._job, self._emit, self._cancelled)
        except EngineError:
            raise
        except Exception as error:  # whatever a library throws is the end of this answer, not of the server
            raise EngineError(f"{type(error).__name__}: {error}") from error

    def _emit(self, piece: Piece) -> None:
        self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    def _ended(self, thread: asyncio.Future[Completion]) -> None:
        self._loaded.slots.give()
        self._scheduler.release(self._loaded)
        if not thread.cancelled():
            thread.exception()  # looked at, so that an abandoned generation's error is not reported as lost
        self._pieces.put_nowait(None)


class _Writer:
    """Writes one answer; the status is decided by the first thing written."""

    def __init__(self, send: Send, form: Form) -> None:
        self._send = send
        self._form = form
        self._begun = False

    async def write(self, body: bytes) -> None:
        """A part of a stream."""
        if not self._begun:
            await self._begin(200, self._form.stream_type)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        """The end of a stream."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, part: Part, status: int = 200) -> None:
        """One object."""
        body = compact(part).encode()
        await self._begin(status, "application/json; charset=utf-8", len(body))
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def error(self, message: str, status: int) -> None:
        """An error: with its status if nothing is written yet, else as the last line."""
        part = self._form.error(message, status)
        if self._begun:
            await self.write(self._form.framed(compact(part)))
            await self.end()
        else:
            await self.whole(part, status)

    async def _begin(self, status: int, content_type: str, length: int | None = None) -> None:
        self._begun = True
        headers = [(b"content-type", content_type.encode())]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _capped(job: Job, num_ctx: int) -> Job:
    """The job with `num_predict` limited to ten contexts; zero and less mean ten contexts."""
    most = most_tokens(num_ctx)
    wanted = job.sampling.num_predict
    return replace(job, sampling=replace(job.sampling, num_predict=min(wanted, most) if wanted > 0 else most))
