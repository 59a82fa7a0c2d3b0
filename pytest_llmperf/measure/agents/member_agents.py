"""Runs the agents of one part against their addresses at the tap: callables on an event loop, commands as processes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import tempfile
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.errors import LlmperfError, MeasurementError
from pytest_llmperf.masking import known, masked_words, secrets_of
from pytest_llmperf.measure.agents.running_command import RunningCommand, tail_of, without_proxy
from pytest_llmperf.measure.agents.start_order import Starting, in_order, may_start
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.recording import Capture
from pytest_llmperf.measure.waiting import end, run_on_loop
from pytest_llmperf.measure.wire.arrival import Clock
from pytest_llmperf.model import AsyncAgent, Command
from pytest_llmperf.secret_values import Hidden

_POLL_S = 0.02
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One agent of a part.

    Attributes:
        label: for error messages.
        url: of its server.
        run: what does its work.
        start_up_ns: how long it takes from its start to its first request, as far as is known.
    """

    label: str
    url: str
    run: AsyncAgent | Command = field(repr=False)
    start_up_ns: int = 0

    @property
    def name(self) -> str:
        """The label without the instance."""
        return self.label.partition(",")[0]


class Agents:
    """The agents of one part while they run.

    Those that start slowly are started first, so that the others do not wait for them at the barrier: a client gives
    up a request that is not answered for some seconds.

    Args:
        members: the agents.
        urls: the address at the tap of each.
        tap: forwards for them.
        model: its name on the servers, for the commands' environment.
        timeout_s: most seconds for all that an agent does.
        clock: monotonic nanoseconds.

    Attributes:
        started_ns: the moment each was started; of those that were.
    """

    def __init__(
        self,
        members: Sequence[Member],
        urls: Sequence[str],
        *,
        tap: Tap,
        model: str,
        timeout_s: float,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._members = tuple(members)
        self._work = dict(zip(members, urls, strict=True))
        self._tap = tap
        self._model = model
        self._timeout_s = timeout_s
        self._clock = clock
        self._commands: list[RunningCommand] = []
        self._outputs: dict[Member, str] = {}
        self._failed: Member | None = None
        self.started_ns: dict[Member, int] = {}

    def run(self) -> tuple[Capture, LlmperfError | None]:
        """Until all have ended, or one has failed and the others were given up; what passed, and the failure."""
        with _environment_without_proxy():
            return run_on_loop(self._part, asyncio.new_event_loop)

    async def _part(self) -> tuple[Capture, LlmperfError | None]:
        failure: LlmperfError | None = None
        try:
            await self._until_all_ended()
        except LlmperfError as error:
            failure = error
        await _let_transports_close()
        capture = self._tap.take()
        return capture, self._explained(failure, capture)

    async def _until_all_ended(self) -> None:
        """Raises MeasurementError where one fails, or where it takes too long; the others are given up."""
        loop = asyncio.get_running_loop()
        tasks: dict[asyncio.Task[None], Member] = {}
        waiting, until_s = in_order(self._members), loop.time() + self._timeout_s
        try:
            while (rest_s := until_s - loop.time()) > 0:
                ended = {member for task, member in tasks.items() if task.done()}
                while waiting and self._may_start(waiting[0], ended):
                    member = waiting.pop(0)
                    self.started_ns[member] = self._clock()
                    tasks[loop.create_task(self._one(member))] = member
                pending = [task for task in tasks if not task.done()]
                if not pending and not waiting:
                    return
                look_s = _POLL_S if waiting else _LOOK_S
                done, _ = await asyncio.wait(pending, timeout=min(rest_s, look_s), return_when=asyncio.FIRST_COMPLETED)
                released = self._tap.released()
                for task in filter(done.__contains__, tasks):
                    self._failed = tasks[task]
                    task.result()
                    if not released:
                        raise self.silence(tasks[task], [])
                    self._failed = None
            late = [member for task, member in tasks.items() if not task.done()]
        finally:
            await end(tasks)
        raise self._late(late)

    def _may_start(self, member: Member, ended: Collection[Member]) -> bool:
        """Whether it is this agent's turn; nobody waits for one that has ended."""
        arrived, now_ns = self._tap.arrived(), self._clock()
        return may_start(
            member.start_up_ns,
            [
                Starting(
                    start_up_ns=started.start_up_ns,
                    since_ns=now_ns - at_ns,
                    arrived=started in ended or self._members.index(started) in arrived,
                )
                for started, at_ns in self.started_ns.items()
            ],
        )

    def kill(self) -> None:
        """Leaves no process."""
        for command in self._commands:
            command.ask_to_end()
        for command in self._commands:
            command.close()

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
        state = "" if self._tap.released() else ", and not every agent had sent its first request,"
        return MeasurementError(
            "\n".join(
                f"{member.label}: the agent was not done{state} after {self._timeout_s:g} s"
                + self._outputs.get(member, "")
                for member in members
            ),
            next_step="look at the server's log, or raise --llmperf-timeout: it holds for all that such an agent does",
        )

    def _explained(self, failure: LlmperfError | None, capture: Capture) -> LlmperfError | None:
        """The failure, and with whom its agent waited at the barrier, if that may be why."""
        if failure is None:
            return None
        if self._failed is not None:
            return self.given_up(self._failed, capture, failure)
        return (
            failure
            if capture.start_ns or len(self._members) == 1
            else _with(failure, self._awaited(capture, capture.end_ns), failure.next_step)
        )

    def given_up(self, member: Member, capture: Capture, failure: LlmperfError) -> LlmperfError:
        """The failure of an agent; if it gave up requests at the barrier: how long it waited there, and for whom."""
        connections = capture.agents[self._members.index(member)]
        given_up = [connection for connection in connections if connection.given_up_ns and connection.first_ns]
        if not given_up:
            return failure
        waited_s = max(connection.given_up_ns - connection.first_ns for connection in given_up) / 1e9
        requests = "its request" if len(given_up) == 1 else f"{len(given_up)} requests"
        text = f"\n  it gave up {requests} at the barrier, where all wait for the slowest, after {waited_s:.1f} s"
        return _with(
            failure,
            text + self._awaited(capture, min(connection.given_up_ns for connection in given_up)),
            f"give the client of {member.name} a time-out well above {waited_s:.1f} s, or have the agent that it waits "
            "for send its first request sooner",
        )

    def _awaited(self, capture: Capture, at_ns: int) -> str:
        """Who had sent nothing at that moment, and how long after its start, a line for each."""
        words = []
        for member, connections in zip(self._members, capture.agents, strict=True):
            if any(0 < connection.first_ns <= at_ns for connection in connections):
                continue
            started_ns = self.started_ns.get(member)
            since = (
                f", {(at_ns - started_ns) / 1e9:.1f} s after its start" if started_ns else ": it was not started yet"
            )
            words.append(f"\n  waited for {member.name}, which had sent no request{since}")
        return "".join(words)

    async def _one(self, member: Member) -> None:
        url = self._work[member]
        if isinstance(member.run, tuple):
            await self._command(member, member.run, url)
            return
        try:
            awaitable = member.run(url)
            if not inspect.isawaitable(awaitable):
                raise TypeError(f"it returned {type(awaitable).__name__}, wanted an awaitable")
            await awaitable
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_ended_by_us():
                raise
            frames = traceback.extract_tb(error.__traceback__)[1:2]
            where = "".join(f" ({frame.filename}, line {frame.lineno})" for frame in frames)
            raise MeasurementError(
                f"{member.label}: the agent raised {_in_words(error)}{where}",
                next_step="run the callable by itself against the server's address",
            ) from error

    async def _command(self, member: Member, command: Command, url: str) -> None:
        words = [word.replace("{url}", url) for word in command]
        with tempfile.TemporaryFile() as output:
            try:
                running = RunningCommand(words, env=self._environment(url), output=output)
                self._commands.append(running)
                try:
                    code = await running.exit_code()
                finally:
                    await running.end()
                    self._outputs[member] = tail_of(output, (*secrets_of(command), *known()))
            except OSError as error:
                raise MeasurementError(
                    f"{member.label}: {masked_words(words)[0]!r} cannot be started ({error})",
                    next_step="is the program on PATH?",
                ) from error
        if code:
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise MeasurementError(
                f"{member.label}: the command {masked_words(words)[0]!r} ended with {how}{self._outputs[member]}",
                next_step="run it by hand with OLLAMA_HOST set to the server's address",
            )

    def _environment(self, url: str) -> Hidden:
        """The caller's, with what points to the tap."""
        ours = {"OLLAMA_HOST": url, "LLMPERF_BASE_URL": url, "OPENAI_BASE_URL": f"{url}/v1"}
        return Hidden({**os.environ, **without_proxy(os.environ), **ours, "LLMPERF_MODEL": self._model})


def _is_ended_by_us() -> bool:
    """Whether this task was cancelled from outside; an agent may let a cancellation of its own escape."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _in_words(error: BaseException) -> str:
    """An exception, and those in its group: a task group's own text does not say what failed."""
    inside = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return f"{type(error).__name__}: {error}" + "".join(f"; {_in_words(each)}" for each in inside)


def _with(failure: LlmperfError, text: str, next_step: str) -> LlmperfError:
    """The same failure with more to say."""
    said = MeasurementError(f"{failure.args[0]}{text}", next_step=next_step)
    said.__cause__ = failure.__cause__
    return said


@contextlib.contextmanager
def _environment_without_proxy() -> Iterator[None]:
    """For callables, which run in this process."""
    before = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
    os.environ.update(without_proxy(os.environ))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


async def _let_transports_close() -> None:
    """What an agent closed at its end is closed by asyncio some turns of the loop later."""
    for _ in range(3):
        await asyncio.sleep(0.001)
