"""Runs external agents (async callables and commands), each against an address of the tap."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.marked_workflow import workflow_of
from pytest_llmperf.measure.agents.member_agents import Agents
from pytest_llmperf.measure.agents.running_command import CommandUse
from pytest_llmperf.measure.tap.http_exchanges import HttpExchange, abandoned_of, exchanges_of, timing
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.recording import Capture, CapturedConnection
from pytest_llmperf.measure.wire.answer_end import Ending
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.measure.wire.prepared_request import Request
from pytest_llmperf.model import LAST, UNTIMED, AsyncAgent, Place, ProcessUse, RequestTiming, Step, Untimed, Workflow
from pytest_llmperf.model.endpoints import is_control

LOADS = ("load", "unload")
"""`done_reason` of requests that load or unload the model: they ask for no text and are not timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecording:
    """The requests of one agent in a part.

    Attributes:
        requests: the timed requests, in the order sent.
        exchanges: the exchanges of these requests.
        sent: their HTTP requests, as the agent sent them.
        forward_ns: how long the tap kept its first bytes after the barrier.
        start_up_ns: time from the agent's start to the first bytes that it sent.
        untimed: its requests that are in no figure.
        workflow, marks_fault, process: as of AgentRun.
    """

    requests: tuple[RequestTiming, ...]
    exchanges: tuple[Exchange, ...]
    sent: tuple[HttpExchange, ...]
    forward_ns: int
    start_up_ns: int
    untimed: tuple[Untimed, ...] = ()
    workflow: Workflow | None = None
    marks_fault: str = ""
    process: ProcessUse | None = None

    def check_count(self, label: str, wanted: int) -> None:
        """Raises MeasurementError if another number of requests than wanted is timed; others may wait for each."""
        if len(self.requests) != wanted:
            reasons = "".join(f"; {each.request}: {UNTIMED[each.reason]}" for each in self.untimed)
            raise MeasurementError(
                f"{label}: {len(self.requests)} of {wanted} requests could be timed{reasons}",
                next_step="take requests that ask for no answer out of its prompts or its recording",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TapResult:
    """One part of a round, as the tap captured it.

    Attributes:
        start_ns: when the barrier opened.
        recordings: one recording for each member.
        cpu_ns: CPU time of the tap from the barrier to the last answer.
        lag_ns: the tap's scheduling lag in that time.
    """

    start_ns: int
    recordings: tuple[AgentRecording, ...]
    cpu_ns: int
    lag_ns: int


def run_tapped(members: Sequence[Member], *, tap: Tap, model: str, timeout_s: float, barrier: bool = True) -> TapResult:
    """Runs agents at once, behind one barrier, which opens when each of them has sent its first request.

    Args:
        members: the agents.
        tap: forwards for them.
        model: its name on the servers, for the commands' environment.
        timeout_s: maximum run time of an agent, s.
        barrier: False lets each agent begin as soon as it can, for runs that are not timed.

    Raises:
        MeasurementError: an agent or one of its requests failed; the other agents were stopped, no process is left.
        UsageError: see `Tap.open`.
    """
    part = Agents.opened(members, tap=tap, model=model, timeout_s=timeout_s, barrier=barrier)
    capture, failure = part.run_or_kill()
    try:
        recordings = tuple(
            _recording(
                member,
                connections,
                capture,
                started_ns=part.failures.started_ns.get(member, 0),
                program=part.program_of(member),
                use=part.uses.get(member),
            )
            for member, connections in zip(members, capture.agents, strict=True)
        )
    except MeasurementError as error:
        raise error from failure  # the server's failure explains the agent's
    if failure is not None:
        raise failure
    for member, recording, connections in zip(members, recordings, capture.agents, strict=True):
        if not recording.requests:
            raise part.failures.explained(part.failures.silence(member, _asked(connections, capture)), capture, member)
    end_ns = max(request.done_ns for recording in recordings for request in recording.requests)
    return TapResult(
        start_ns=capture.start_ns,
        recordings=recordings,
        cpu_ns=capture.cpu_ns(end_ns),
        lag_ns=capture.lag_ns(end_ns),
    )


class Progress:
    """The progress of a part's built-in agents, for agents that wait for them."""

    def __init__(self) -> None:
        self._ends: defaultdict[Place, asyncio.Event] = defaultdict(asyncio.Event)

    async def wait(self, step: Step) -> None:
        """Until a request may be sent; an external agent's end has been waited for before this one was started."""
        for place in step.waits_for:
            if place[1] != LAST:
                await self._ends[place].wait()
        await asyncio.sleep(step.think_ns / 1e9)

    async def end(self, place: Place, step: Step) -> None:
        """A request has ended, after its tools."""
        await asyncio.sleep(step.tool_ns / 1e9)
        self._ends[place].set()


def own_work(
    requests_to: Callable[[str], Sequence[Request]], agent: int, progress: Progress, *, in_turn: bool = True
) -> AsyncAgent:
    """A built-in or a recorded agent as a callable: it sends its requests; the tap captures the times.

    Args:
        requests_to: its requests for a base address.
        agent: its index in the part.
        progress: the progress of the part.
        in_turn: whether each request waits for the previous one; otherwise only for the requests that its step names.
    """

    async def send(position: int, request: Request) -> None:
        await progress.wait(request.step)
        reader, writer = await asyncio.open_connection(request.host, request.port)
        try:
            writer.write(request.signed())
            ending = Ending()
            while (data := await reader.read(65536)) and not ending.add(data):
                pass
        finally:
            writer.close()
        await progress.end((agent, position), request.step)

    async def work(url: str) -> None:
        async with asyncio.TaskGroup() as group:
            for position, request in enumerate(requests_to(url)):
                task = group.create_task(send(position, request))
                if in_turn:
                    await task

    return work


def _recording(
    member: Member,
    connections: Sequence[CapturedConnection],
    capture: Capture,
    *,
    started_ns: int,
    program: Sequence[Member],
    use: CommandUse | None,
) -> AgentRecording:
    """The requests on all connections of an agent.

    Raises:
        MeasurementError: a server failed, or the agent does not speak HTTP.
    """
    untimed: Counter[tuple[str, str]] = Counter(
        (request, "abandoned") for connection in connections for request in abandoned_of(connection, label=member.label)
    )
    http_exchanges = [
        http_exchange
        for connection in connections
        for http_exchange in exchanges_of(connection, capture, label=member.label)
    ]
    http_exchanges.sort(key=lambda http_exchange: http_exchange.exchange.sent_ns)
    timed = []
    for http_exchange in http_exchanges:
        request = timing(http_exchange) if http_exchange.endpoint else None
        if reason := _untimed_reason(http_exchange, request):
            untimed[f"{http_exchange.method} {http_exchange.path}", reason] += 1
        elif request is not None:
            timed.append((request, http_exchange))
    handed = [chunk.handed_ns for connection in connections for chunk in connection.up.chunks if chunk.handed_ns]
    arrived = [connection.first_ns for connection in connections if connection.first_ns]
    requests = tuple(request for request, _ in timed)
    workflow, marks_fault = workflow_of(connections, capture, requests)
    return AgentRecording(
        requests=requests,
        exchanges=tuple(sent.exchange for _, sent in timed),
        sent=tuple(sent for _, sent in timed),
        forward_ns=max(0, min(handed, default=0) - max(capture.start_ns, min(arrived, default=0))),
        start_up_ns=max(0, min(arrived, default=capture.end_ns) - started_ns),
        untimed=tuple(
            Untimed(request=request, reason=reason, count=count) for (request, reason), count in sorted(untimed.items())
        ),
        workflow=workflow,
        marks_fault=marks_fault,
        process=_process_use(program, connections, use),
    )


def _process_use(
    program: Sequence[Member], connections: Sequence[CapturedConnection], use: CommandUse | None
) -> ProcessUse | None:
    """What the program of a command used; None if the agent is no command, or sent nothing."""
    firsts = [connection.first_ns for connection in connections if connection.first_ns]
    firsts += [mark.read_ns for connection in connections for mark in connection.marks]
    if use is None or not firsts:
        return None
    return ProcessUse(
        start_up_ns=max(0, min(firsts) - use.begun_ns),
        cpu_ns=use.cpu_ns,
        peak_rss_bytes=use.peak_rss_bytes,
        agents=tuple(member.agent for member in program),
    )


def _untimed_reason(http_exchange: HttpExchange, request: RequestTiming | None) -> str:
    """Why a request is not timed, a key of UNTIMED; empty if it is, or if it is of no interest."""
    if request is not None:
        return "load" if request.done_reason in LOADS else ""
    return "" if is_control(http_exchange.method, http_exchange.path) else "unknown"


def _asked(connections: Sequence[CapturedConnection], capture: Capture) -> list[str]:
    """The method and path of every request of an agent."""
    return [
        f"{http_exchange.method} {http_exchange.path}"
        for connection in connections
        for http_exchange in exchanges_of(connection, capture, label="")
    ]
