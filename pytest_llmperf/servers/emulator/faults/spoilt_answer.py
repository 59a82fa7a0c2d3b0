"""An answer that goes wrong: it is written as usual until its fault is due."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pytest_llmperf.servers.emulator.api.answer_forms import Form, compact
from pytest_llmperf.servers.emulator.faults.fault_plan import Fault
from pytest_llmperf.servers.emulator.faults.fired import tell
from pytest_llmperf.servers.emulator.faults.process_effects import Host

REPEATS = 31
"""Ollama cuts off a model after more than 30 equal chunks."""

_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


class _Over(OSError):
    """Nothing more is to be written; for the answer as if its client had gone."""


class SpoiltAnswer:
    """ASGI: an answer with a fault in it.

    Args:
        answer: what is written until then.
        form: how it is written.
        fault: one of plan.OF_ANSWERS, `status` excepted.
        host: the process.
        number: the number of the request.
        pause_s: pause between tokens that this class makes.
        crashed: is called when the model's runner dies.
    """

    def __init__(
        self,
        answer: ASGIApp,
        form: Form,
        fault: Fault,
        host: Host,
        *,
        number: int,
        pause_s: float,
        crashed: Callable[[], None],
    ) -> None:
        self._answer = answer
        self._form = form
        self._fault = fault
        self._host = host
        self._number = number
        self._pause_s = pause_s
        self._crashed = crashed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Writes the answer up to the fault, and does it."""
        tokens, fired, over = 0, False, False
        head: Message | None = None

        async def spoilt(message: Message) -> None:
            nonlocal tokens, fired, over, head
            if over:
                raise _Over
            if message["type"] == "http.response.start":
                head = message  # with the first bytes, not before: an early fault leaves no trace of an answer
                return
            if not message["body"]:
                await send(message)
                return
            if tokens == self._fault.after_tokens and not fired:
                fired, over = True, await self._due(scope, head, message, send)
                if over:
                    raise _Over
            if head is not None:
                await send(head)
                head = None
            tokens += 1
            await send(message)

        await self._answer(scope, receive, spoilt)

    async def _due(self, scope: Scope, head: Message | None, message: Message, send: Send) -> bool:
        """Does the fault in place of this message; whether the answer ends with it."""
        fault = self._fault
        tell(fault, f"at request {self._number}")
        if fault.kind == "stall":
            await asyncio.sleep(fault.seconds or 1e9)
            return False
        if fault.kind == "die":
            self._host.die()
        if fault.kind == "reset":
            self._host.reset(scope["client"])
            return True
        if fault.kind == "crash":
            self._crashed()
        if head is not None:
            await send({**head, "headers": [pair for pair in head["headers"] if pair[0] != b"content-length"]})
        for position, body in enumerate(self._last_words(message["body"])):
            await asyncio.sleep(self._pause_s if position else 0)
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send(_END)
        return True

    def _last_words(self, body: bytes) -> list[bytes]:
        """The bytes that are written in place of the message."""
        if self._fault.kind == "half_line":
            return [body[: len(body) // 2]]
        if self._fault.kind in ("error_line", "crash"):
            return [self._form.framed(compact(self._form.error(self._fault.message, 500)))]
        if self._fault.kind == "garbage":
            return [self._form.framed(self._fault.message)]
        return [body] * REPEATS if self._fault.kind == "repeat" else []


class DelayedAnswer:
    """ASGI: an answer that is sent a fixed time after it is written, while the server continues.

    Args:
        answer: the application that writes the answer.
        delay_s: the time between writing and sending.
    """

    def __init__(self, answer: ASGIApp, delay_s: float) -> None:
        self._answer = answer
        self._delay_s = delay_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Writes the answer, and sends it later."""
        now, underway = asyncio.get_running_loop().time, asyncio.Queue[tuple[float, Message | None]]()

        async def written(message: Message | None) -> None:
            await underway.put((now() + self._delay_s, message))

        async def deliver() -> None:
            while True:
                due_s, message = await underway.get()
                await asyncio.sleep(due_s - now())
                if message is None:
                    return
                await send(message)

        delivery = asyncio.create_task(deliver())
        try:
            await self._answer(scope, receive, written)
            await written(None)
            with contextlib.suppress(OSError):  # the client has gone
                await delivery
        finally:
            delivery.cancel()
