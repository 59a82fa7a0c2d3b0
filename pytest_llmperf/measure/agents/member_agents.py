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

from pytest_llmperf.errors import LlmperfError, MeasurementError
from pytest_llmperf.masking import known, masked_words, secrets_of
from pytest_llmperf.measure.agents.agent_failures import AgentFailures, Member
from pytest_llmperf.measure.agents.command_environment import command_environment, team_environment
from pytest_llmperf.measure.agents.running_command import CommandUse, RunningCommand, tail_of, without_proxy
from pytest_llmperf.measure.agents.start_order import Starting, in_order, may_start
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.recording import Capture
from pytest_llmperf.measure.waiting import end, run_on_loop
from pytest_llmperf.measure.wire.arrival import Clock
from pytest_llmperf.model import Command
from pytest_llmperf.model.workload.team import team_words
from pytest_llmperf.secret_values import Hidden

_POLL_S = 0.02
_LOOK_S = 0.5


class Agents:
    """The agents of one part while they run.

    Slow starters are started first, so that the others do not wait for them at the barrier: a client gives up a request
    that is not answered within seconds.

    Args:
        members: the agents.
        urls: each agent's address at the tap.
        tap: forwards for them.
        model: its name on the servers, for the commands' environment.
        timeout_s: maximum run time of an agent, s.
        clock: monotonic nanoseconds.

    Attributes:
        failures: makes the errors; knows when each agent was started.
        uses: what each command that has ended by itself used.
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
        self._failed: Member | None = None
        self.failures = AgentFailures(members, timeout_s=timeout_s)
        self.uses: dict[Member, CommandUse] = {}

    @classmethod
    def opened(
        cls, members: Sequence[Member], *, tap: Tap, model: str, timeout_s: float, barrier: bool = True
    ) -> Agents:
        """The agents of a part that the tap has opened, with or without a barrier; raises as `Tap.open`."""
        try:
            urls = tap.open(
                [member.url for member in members],
                [member.label for member in members],
                accesses=[member.access for member in members],
                barrier=barrier,
                awaited=[_awaited(index, members) for index in range(len(members))],
            )
        except KeyboardInterrupt:
            tap.close()  # it may just have begun
            raise
        return cls(members, urls, tap=tap, model=model, timeout_s=timeout_s)

    def run_or_kill(self) -> tuple[Capture, LlmperfError | None]:
        """As `run`; if that is cut short, no process is left, and the tap is closed."""
        try:
            return self.run()
        except BaseException:
            self.kill()
            self._tap.close()  # whatever it was doing
            raise

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
        if failure is not None:
            failure = self.failures.explained(failure, capture, self._failed)
        return capture, failure

    async def _until_all_ended(self) -> None:
        """Raises MeasurementError if an agent fails or takes too long; stops the others."""
        loop = asyncio.get_running_loop()
        tasks: dict[asyncio.Task[None], tuple[Member, ...]] = {}
        waiting, until_s = in_order(self._members), loop.time() + self._limit_s
        try:
            while (rest_s := until_s - loop.time()) > 0:
                ended = {member for task, program in tasks.items() if task.done() for member in program}
                while (member := self._next(waiting, ended)) is not None:
                    program = self.program_of(member)
                    for each in program:
                        waiting.remove(each)
                        self.failures.started_ns[each] = self._clock()
                    tasks[loop.create_task(self._run(program))] = program
                pending = [task for task in tasks if not task.done()]
                if not pending and not waiting:
                    return
                look_s = _POLL_S if waiting else _LOOK_S
                done, _ = await asyncio.wait(pending, timeout=min(rest_s, look_s), return_when=asyncio.FIRST_COMPLETED)
                released = self._tap.released()
                for task in filter(done.__contains__, tasks):
                    self._failed = tasks[task][0]
                    task.result()
                    if not released:
                        raise self.failures.silence(tasks[task][0], [])
                    self._failed = None
            late = [program[0] for task, program in tasks.items() if not task.done()]
        finally:
            await end(tasks)
        raise self.failures.late(late, released=self._tap.released())

    @property
    def _limit_s(self) -> float:
        """Maximum run time of the part, s: agents that come after others have theirs after theirs."""
        later = any(not member.at_barrier for member in self._members)
        return self._timeout_s * (len(self._members) if later else 1)

    def _next(self, waiting: Sequence[Member], ended: Collection[Member]) -> Member | None:
        """The agent to start now, if it is an agent's turn; one that comes after others waits for their ends."""
        ready = [member for member in waiting if all(self._members[index] in ended for index in member.after)]
        later = next((member for member in ready if member.after), None)
        if later is not None or not ready:
            return later
        return ready[0] if self._may_start(ready[0], ended) else None

    def _may_start(self, member: Member, ended: Collection[Member]) -> bool:
        """Whether it is this agent's turn to start; ended agents are not waited for."""
        arrived, now_ns = self._tap.arrived(), self._clock()
        return may_start(
            member.start_up_ns,
            [
                Starting(
                    start_up_ns=started.start_up_ns,
                    since_ns=now_ns - at_ns,
                    arrived=started in ended or self._members.index(started) in arrived,
                )
                for started, at_ns in self.failures.started_ns.items()
            ],
        )

    def kill(self) -> None:
        """Leaves no process."""
        for command in self._commands:
            command.ask_to_end()
        for command in self._commands:
            command.close()

    def program_of(self, member: Member) -> tuple[Member, ...]:
        """The agents of this part that its program runs: of a team, all that are there."""
        return tuple(each for each in self._members if member.team and each.team == member.team) or (member,)

    async def _run(self, program: Sequence[Member]) -> None:
        member = program[0]
        url = self._work[member]
        if isinstance(member.run, tuple):
            await self._command(program, member.run)
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

    async def _command(self, program: Sequence[Member], command: Command) -> None:
        member, urls = program[0], {each.agent: self._work[each] for each in program}
        words = [word.replace("{url}", self._work[member]) for word in command]
        environment = command_environment(os.environ, url=self._work[member], model=self._model)
        if member.team:
            words = team_words(command, urls)
            ours = environment | team_environment(urls, member.team_agents)
            environment = {name: value for name, value in ours.items() if value is not None}
        with tempfile.TemporaryFile() as output:
            try:
                running = RunningCommand(words, env=Hidden(environment), output=output)
                self._commands.append(running)
                try:
                    code = await running.exit_code()
                    if running.use is not None:
                        self.uses |= dict.fromkeys(program, running.use)
                finally:
                    await running.end()
                    tail = tail_of(output, (*secrets_of(command), *known()))
                    self.failures.outputs |= dict.fromkeys(program, tail)
            except OSError as error:
                raise MeasurementError(
                    f"{member.label}: {masked_words(words)[0]!r} cannot be started ({error})",
                    next_step="is the program on PATH?",
                ) from error
        if code:
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            output_tail = self.failures.outputs[member]
            raise MeasurementError(
                f"{member.label}: the command {masked_words(words)[0]!r} ended with {how}{output_tail}",
                next_step="run it by hand with OLLAMA_HOST set to the server's address",
            )


def _awaited(index: int, members: Sequence[Member]) -> int | None:
    """For `Tap.open`: of a team, whose program starts its agents by itself, the barrier waits for one."""
    member = members[index]
    if not member.at_barrier:
        return None
    return next((place for place, each in enumerate(members) if member.team and each.team == member.team), index)


def _is_ended_by_us() -> bool:
    """Whether this task was cancelled from outside; an agent may let a cancellation of its own escape."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _in_words(error: BaseException) -> str:
    """An exception, and those in its group: a task group's own text does not say what failed."""
    inside = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return f"{type(error).__name__}: {error}" + "".join(f"; {_in_words(each)}" for each in inside)


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
    """Lets asyncio close the transports of ended agents, which takes some turns of the loop."""
    for _ in range(3):
        await asyncio.sleep(0.001)
