"""A plan as one instance lives it: counts its requests, and does what is due before, in and after each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pytest_llmperf.servers.emulator.api.model_scheduler import BUSY, Scheduler
from pytest_llmperf.servers.emulator.api.request_bodies import GenerationRequest
from pytest_llmperf.servers.emulator.engine import Job, LoadOptions, Pace, Sampling
from pytest_llmperf.servers.emulator.faults.fault_kinds import BETWEEN, OF_ANSWERS, OF_PACE, OF_WORK
from pytest_llmperf.servers.emulator.faults.fault_plan import Fault
from pytest_llmperf.servers.emulator.faults.fired import tell
from pytest_llmperf.servers.emulator.faults.process_effects import Host
from pytest_llmperf.servers.emulator.faults.spoilt_answer import DelayedAnswer, SpoiltAnswer
from pytest_llmperf.servers.emulator.scripted_engine import ScriptedEngine

_ANOTHERS_KEEP_ALIVE_S = 300.0


class FaultyInstance:
    """Does what a plan says; used from the server's event loop only.

    Args:
        engine: has the plan and this instance's name in it.
        host: the process.
        clock: monotonic seconds.
    """

    def __init__(self, engine: ScriptedEngine, *, host: Host, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._host = host
        self._clock = clock
        self._count = 0
        self._prepared = 0
        self._hot_since_s: dict[Fault, float] = {}
        self._others: set[asyncio.Task[None]] = set()

    async def answer(
        self, request: GenerationRequest, scheduler: Scheduler, usual: Callable[[GenerationRequest], ASGIApp]
    ) -> ASGIApp:
        """The answer to a generation request, spoilt if the plan says so.

        Args:
            request: the request.
            scheduler: the scheduler of the model.
            usual: returns the answer of a working server.
        """
        self._count += 1
        number = self._count
        await self._prepare(number, scheduler)
        for fault in self._hits(number, "traffic"):
            await self._traffic(fault, scheduler)
        work = {fault.kind: fault for fault in self._hits(number, *OF_WORK)}
        if late := work.get("slow_acquire"):
            await asyncio.sleep(late.seconds)
        answer = usual(replace(request, job=self._job(request.job, number, work.get("longer"))))
        for fault in self._engine.plan.hits(self._engine.instance, number, *OF_ANSWERS):
            answer = self._spoilt(answer, fault, request, number, scheduler)
            break
        if delay := work.get("delay"):
            answer = DelayedAnswer(answer, delay.seconds)
        return _Then(answer, lambda: self._prepare(number + 1, scheduler))

    def _hits(self, number: int, *kinds: str) -> list[Fault]:
        """The faults of a request, said in the log."""
        hits = list(self._engine.plan.hits(self._engine.instance, number, *kinds))
        for fault in hits:
            tell(fault, f"at request {number}")
        return hits

    async def _prepare(self, number: int, scheduler: Scheduler) -> None:
        """Does the faults before a request: as soon as the previous one has ended, at the latest when it arrives."""
        if number <= self._prepared:
            return
        self._prepared = number
        for fault in self._hits(number, *BETWEEN):
            if fault.kind == "refuse":
                self._host.refuse(fault.seconds)
            elif fault.kind == "reload":
                loaded = await scheduler.acquire(LoadOptions(num_ctx=fault.num_ctx), _ANOTHERS_KEEP_ALIVE_S)
                scheduler.release(loaded)
            else:
                await _unload(scheduler)
            if fault.kind == "restart":
                self._engine.version = fault.version

    async def _traffic(self, fault: Fault, scheduler: Scheduler) -> None:
        """Another client's request takes its place before this request."""
        begun = asyncio.Event()

        async def another() -> None:
            options = scheduler.loaded.options if scheduler.loaded is not None else LoadOptions()
            loaded = await scheduler.acquire(options, _ANOTHERS_KEEP_ALIVE_S)
            try:
                begun.set()
                await loaded.slots.take()
                try:
                    job = Job(prompt="another client", sampling=Sampling(num_predict=fault.tokens))
                    await asyncio.get_running_loop().run_in_executor(
                        scheduler.workers, self._engine.generate, job, lambda _: None, threading.Event()
                    )
                finally:
                    loaded.slots.give()
            finally:
                scheduler.release(loaded)

        task = asyncio.create_task(another())
        self._others.add(task)
        task.add_done_callback(self._others.discard)
        await begun.wait()
        await asyncio.sleep(0)

    def _job(self, job: Job | None, number: int, longer: Fault | None) -> Job | None:
        """The job at the pace of this request, and as long as the plan says."""
        if job is None:
            return None
        sampling = replace(job.sampling, num_predict=longer.tokens) if longer else job.sampling
        return replace(job, pace=self._pace(number), sampling=sampling)

    def _pace(self, number: int) -> Pace:
        """How fast the engine works on this request."""
        prefill = decode = 1.0
        for fault in self._hits(number, *OF_PACE):
            if fault.kind == "slow_prefill":
                prefill *= fault.factor
            elif fault.kind == "slow_decode":
                decode *= fault.factor
            else:
                hot_s = self._clock() - self._hot_since_s.setdefault(fault, self._clock())
                decode *= 1 - (1 - fault.factor) * (min(1.0, hot_s / fault.seconds) if fault.seconds else 1.0)
        return Pace(prefill=prefill, decode=decode)

    def _spoilt(
        self, answer: ASGIApp, fault: Fault, request: GenerationRequest, number: int, scheduler: Scheduler
    ) -> ASGIApp:
        if fault.kind != "status":
            pause_s = 1 / self._engine.script.decode_tok_s
            return SpoiltAnswer(
                answer, request.form, fault, self._host, number=number, pause_s=pause_s, crashed=scheduler.lose
            )
        tell(fault, f"at request {number}")
        words = {404: f"model '{request.model}' not found", 503: BUSY}
        message = fault.message or words.get(fault.status, "an internal error of the server")
        return JSONResponse(request.form.error(message, fault.status), fault.status)


async def _unload(scheduler: Scheduler) -> None:
    """Has the model leave, unless somebody uses it."""
    loaded = scheduler.loaded
    scheduler.expire()
    while loaded is not None and scheduler.loaded is loaded and not loaded.users:  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.001)


class _Then:
    """ASGI: an answer, and what is done when it has ended."""

    def __init__(self, answer: ASGIApp, then: Callable[[], Awaitable[None]]) -> None:
        self._answer = answer
        self._then = then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, then does it."""
        try:
            await self._answer(scope, receive, send)
        finally:
            await self._then()
