"""Answers a request for text: acquires the model, waits for a slot, runs the engine, writes lines or one object."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

from starlette.types import Receive, Scope, Send

from pytest_llmperf.servers.api.options import RequestError
from pytest_llmperf.servers.api.requests import GenerationRequest
from pytest_llmperf.servers.api.scheduler import Loaded, Scheduler
from pytest_llmperf.servers.engine import Completion, EngineError, Job, most_tokens

Clock = Callable[[], int]
Part = dict[str, object]


class GenerationResponse:
    """The ASGI answer to one request; a client that goes away ends the generation and frees the slot.

    Args:
        request: what is asked.
        scheduler: of the model.
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
        # a write to a client that has just gone is no fault of ours
        if isinstance(results[0], Exception) and not isinstance(results[0], OSError):
            raise results[0]

    async def _answer(self, send: Send) -> None:
        writer = _Writer(send, stream=self._request.stream)
        try:
            if self._request.stream and self._request.job is not None:  # loading has one answer, never a stream
                async with aclosing(self._parts()) as parts:  # closed at once, also when cancelled
                    async for part in parts:
                        await writer.line(part)
                await writer.end()
            else:
                await writer.whole(await self._joined())
        except (EngineError, RequestError) as error:
            await writer.error(str(error), error.status)

    async def _joined(self) -> Part:
        """All parts as one."""
        texts: list[str] = []
        last: Part = {}
        async with aclosing(self._parts()) as parts:
            async for part in parts:
                texts.append(self._text_of(part))
                last = part
        return {**last, **self._body("".join(texts))}

    async def _parts(self) -> AsyncGenerator[Part, None]:
        """The parts of the answer in order; the last says `done`."""
        request, scheduler = self._request, self._scheduler
        if request.job is None and request.keep_alive_s == 0:
            scheduler.expire()
            yield self._part("", done=True, done_reason="unload")
            return
        loaded = await scheduler.acquire(request.load, request.keep_alive_s)
        load_ns = self._clock() - self._started_ns
        if request.job is None:
            scheduler.release(loaded)
            yield self._part("", done=True, done_reason="load")
            return
        generation = _Generation(_capped(request.job, loaded.num_ctx), scheduler, loaded)
        try:
            await generation.start()
            async for text in generation.texts():
                yield self._part(text, done=False)
        finally:
            generation.cancel()
        completion = generation.completion()
        yield self._part(
            "",
            done=True,
            done_reason=completion.done_reason,
            **_without_zeros(
                total_duration=self._clock() - self._started_ns,
                load_duration=load_ns,
                prompt_eval_count=completion.prompt_eval_count,
                prompt_eval_duration=completion.prompt_eval_duration_ns,
                eval_count=completion.eval_count,
                eval_duration=completion.eval_duration_ns,
            ),
        )

    def _part(self, text: str, **more: object) -> Part:
        return {"model": self._request.model, "created_at": now(), **self._body(text), **more}

    def _body(self, text: str) -> Part:
        if self._request.chat:
            return {"message": {"role": "assistant", "content": text}}
        return {"response": text}

    def _text_of(self, part: Part) -> str:
        message = part.get("message")
        return str(message["content"]) if isinstance(message, dict) else str(part["response"])


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
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
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

    async def texts(self) -> AsyncIterator[str]:
        """Each piece of text as the engine emits it."""
        while (piece := await self._pieces.get()) is not None:
            yield piece

    def completion(self) -> Completion:
        """The outcome, after `texts` has ended. Raises EngineError."""
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

    def _emit(self, text: str) -> None:
        self._loop.call_soon_threadsafe(self._pieces.put_nowait, text)

    def _ended(self, thread: asyncio.Future[Completion]) -> None:
        self._loaded.slots.give()
        self._scheduler.release(self._loaded)
        if not thread.cancelled():
            thread.exception()  # looked at, so that an abandoned generation's error is not reported as lost
        self._pieces.put_nowait(None)


class _Writer:
    """Writes one answer; the status is decided by the first thing written."""

    def __init__(self, send: Send, *, stream: bool) -> None:
        self._send = send
        self._stream = stream
        self._begun = False

    async def line(self, part: Part) -> None:
        """One line of a stream."""
        if not self._begun:
            await self._begin(200, b"application/x-ndjson")
        body = json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        """The end of a stream."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, part: Part, status: int = 200) -> None:
        """One object."""
        body = json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode()
        await self._begin(status, b"application/json; charset=utf-8", len(body))
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def error(self, message: str, status: int) -> None:
        """An error: with its status if nothing is written yet, else as the last line."""
        if self._begun:
            await self.line({"error": message})
            await self.end()
        else:
            await self.whole({"error": message}, status)

    async def _begin(self, status: int, content_type: bytes, length: int | None = None) -> None:
        self._begun = True
        headers = [(b"content-type", content_type)]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _capped(job: Job, num_ctx: int) -> Job:
    """The job with `num_predict` at most ten contexts; zero and less mean that many."""
    most = most_tokens(num_ctx)
    wanted = job.sampling.num_predict
    return replace(job, sampling=replace(job.sampling, num_predict=min(wanted, most) if wanted > 0 else most))


def _without_zeros(**figures: int) -> dict[str, int]:
    """Ollama leaves out figures that are zero."""
    return {name: value for name, value in figures.items() if value}


def now(seconds: float | None = None) -> str:
    """A moment (seconds since the epoch, default now) as RFC 3339 in UTC with microseconds."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
