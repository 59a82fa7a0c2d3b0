"""Runs the agents of one part against their addresses at the tap: callables on an event loop, commands as processes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import subprocess
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from pytest_llmperf.errors import LlmperfError, MeasurementError
from pytest_llmperf.measure.tap.carried import Taken
from pytest_llmperf.measure.tap.process import Tap
from pytest_llmperf.measure.waiting import end, run_on_loop
from pytest_llmperf.model import AsyncAgent, Command

_POLL_S = 0.02
_LOOK_S = 0.5
_TAIL_BYTES, _TAIL_LINES = 4000, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One agent of a part.

    Attributes:
        label: for error messages.
        url: of its server.
        run: what does its work.
    """

    label: str
    url: str
    run: AsyncAgent | Command


class Agents:
    """The agents of one part while they run.

    Args:
        members: the agents.
        urls: the address at the tap of each.
        tap: forwards for them.
        model: its name on the servers, for the commands' environment.
        timeout_s: most seconds for all that an agent does.
    """

    def __init__(
        self, members: Sequence[Member], urls: Sequence[str], *, tap: Tap, model: str, timeout_s: float
    ) -> None:
        self._work = dict(zip(members, urls, strict=True))
        self._tap = tap
        self._model = model
        self._timeout_s = timeout_s
        self._processes: list[subprocess.Popen[bytes]] = []
        self._outputs: dict[Member, str] = {}

    def run(self) -> tuple[Taken, LlmperfError | None]:
        """Until all have ended, or one has failed and the others were given up; what passed, and the failure."""
        return run_on_loop(self._part, asyncio.new_event_loop)

    async def _part(self) -> tuple[Taken, LlmperfError | None]:
        failure: LlmperfError | None = None
        try:
            await self._until_all_ended()
        except LlmperfError as error:
            failure = error
        await _let_transports_close()
        return self._tap.take(), failure

    async def _until_all_ended(self) -> None:
        """Raises MeasurementError where one fails, or where it takes too long; the others are given up."""
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(self._one(member, url)): member for member, url in self._work.items()}
        pending, until_s = set(tasks), loop.time() + self._timeout_s
        try:
            while pending and (rest_s := until_s - loop.time()) > 0:
                done, pending = await asyncio.wait(
                    pending, timeout=min(rest_s, _LOOK_S), return_when=asyncio.FIRST_COMPLETED
                )
                released = self._tap.released()
                for task in filter(done.__contains__, tasks):
                    task.result()
                    if not released:
                        raise self.silence(tasks[task], [])
        finally:
            await end(tasks)
        if pending:
            raise self._late([tasks[task] for task in pending])

    def kill(self) -> None:
        """Leaves no process."""
        for process in self._processes:
            if process.returncode is None:
                _end(process)

    def silence(self, member: Member, asked: Sequence[str]) -> MeasurementError:
        """The error for an agent that ended and asked no model for anything."""
        instead = f" (only {', '.join(sorted(set(asked)))})" if asked else ""
        return MeasurementError(
            f"{member.label}: the agent ended without a generation request through its address{instead}"
            + self._outputs.get(member, ""),
            next_step="have it use the address it is given: the callable's argument, or OLLAMA_HOST, LLMPERF_BASE_URL, "
            "OPENAI_BASE_URL or {url} of a command",
        )

    def _late(self, members: Sequence[Member]) -> MeasurementError:
        """The error for agents that did not end."""
        what = (
            "was not done" if self._tap.released() else "was not done, and not every agent had sent its first request,"
        )
        return MeasurementError(
            "\n".join(
                f"{member.label}: the agent {what} after {self._timeout_s:g} s{self._outputs.get(member, '')}"
                for member in members
            ),
            next_step="look at the server's log, or raise --llmperf-timeout: it holds for all that such an agent does",
        )

    async def _one(self, member: Member, url: str) -> None:
        if isinstance(member.run, tuple):
            await self._command(member, member.run, url)
            return
        try:
            awaitable = member.run(url)
            if not inspect.isawaitable(awaitable):
                raise TypeError(f"it returned {type(awaitable).__name__}, wanted an awaitable")
            await awaitable
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[1:2]
            where = "".join(f" ({frame.filename}, line {frame.lineno})" for frame in frames)
            raise MeasurementError(
                f"{member.label}: the agent raised {type(error).__name__}: {error}{where}",
                next_step="run the callable by itself against the server's address",
            ) from error

    async def _command(self, member: Member, command: Command, url: str) -> None:
        words = [word.replace("{url}", url) for word in command]
        with tempfile.TemporaryFile() as output:
            process = self._start(member, words, url, output)
            try:
                self._tap.guard(process.pid)
                while process.poll() is None:  # noqa: ASYNC110 - a process has no event that works on every loop
                    await asyncio.sleep(_POLL_S)
            finally:
                _end(process)
                self._outputs[member] = _tail(output)
        if process.returncode:
            how = f"exit code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
            raise MeasurementError(
                f"{member.label}: the command {words[0]!r} ended with {how}{self._outputs[member]}",
                next_step="run it by hand with OLLAMA_HOST set to the server's address",
            )

    def _start(self, member: Member, words: Sequence[str], url: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(url),
                start_new_session=True,  # a group of its own, to be ended with all that it starts
            )
        except OSError as error:
            raise MeasurementError(
                f"{member.label}: {words[0]!r} cannot be started ({error})", next_step="is the program on PATH?"
            ) from error
        self._processes.append(process)
        return process

    def _environment(self, url: str) -> Mapping[str, str]:
        """The caller's, with what points to the tap."""
        ours = {"OLLAMA_HOST": url, "LLMPERF_BASE_URL": url, "OPENAI_BASE_URL": f"{url}/v1"}
        return {**os.environ, **ours, "LLMPERF_MODEL": self._model}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a command with all that it started."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(output: IO[bytes]) -> str:
    """The last lines of a command's output, as a part of a message."""
    output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL_BYTES))
    lines = output.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
    return "".join(f"\n  | {line}" for line in lines) or "\n  (it printed nothing)"


async def _let_transports_close() -> None:
    """What an agent closed at its end is closed by asyncio some turns of the loop later."""
    for _ in range(3):
        await asyncio.sleep(0.001)
