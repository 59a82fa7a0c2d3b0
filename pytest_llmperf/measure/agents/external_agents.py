"""Agents that we did not write: async callables and commands, each run against an address of its own, the tap's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.agents.member_agents import Agents, Member
from pytest_llmperf.measure.tap.http_exchanges import spoken, timing
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.recording import Carried, Taken
from pytest_llmperf.measure.wire.answer_end import Ending
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.measure.wire.prepared_request import Request
from pytest_llmperf.model import AsyncAgent, RequestTiming

LOADS = ("load", "unload")
"""`done_reason` of requests that ask for no text: they load or unload the model, and are not timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one agent asked for and got.

    Attributes:
        requests: its generation requests, in the order sent.
        exchanges: of these.
        first_ns: the moment its first bytes left the tap, whatever they asked for.
        start_up_ns: how long it took from its start until it first sent something.
    """

    requests: tuple[RequestTiming, ...]
    exchanges: tuple[Exchange, ...]
    first_ns: int
    start_up_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tapped:
    """One part of a round, as the tap saw it.

    Attributes:
        start_ns: the moment the barrier opened.
        heard: of each member.
        cpu_ns: CPU time of the tap from the barrier to the last answer.
        lag_ns: how late the tap would have acted in that time.
    """

    start_ns: int
    heard: tuple[Heard, ...]
    cpu_ns: int
    lag_ns: int


def run_tapped(members: Sequence[Member], *, tap: Tap, model: str, timeout_s: float, barrier: bool = True) -> Tapped:
    """Runs agents at once, from one barrier on: it opens when each of them has sent its first request.

    Args:
        members: the agents.
        tap: forwards for them.
        model: its name on the servers, for the commands' environment.
        timeout_s: most seconds for all that an agent does.
        barrier: False lets each begin as soon as it can: for runs that are not timed.

    Raises:
        MeasurementError: an agent failed, or a request of its did; the others were given up, no process is left.
        UsageError: a server speaks TLS.
    """
    urls = tap.open([one.url for one in members], [one.label for one in members], barrier=barrier)
    part = Agents(members, urls, tap=tap, model=model, timeout_s=timeout_s)
    try:
        taken, failure = part.run()
    except BaseException:
        part.kill()
        tap.close()  # whatever it was doing
        raise
    try:
        heard = tuple(
            _heard(member, ways, taken, started_ns=part.started_ns.get(member, 0))
            for member, ways in zip(members, taken.agents, strict=True)
        )
    except MeasurementError as error:
        raise error from failure  # what a server did explains what its agent did
    if failure is not None:
        raise failure
    for member, one, ways in zip(members, heard, taken.agents, strict=True):
        if not one.requests:
            raise part.given_up(member, taken, part.silence(member, _asked(ways, taken)))
    end_ns = max(request.done_ns for one in heard for request in one.requests)
    return Tapped(start_ns=taken.start_ns, heard=heard, cpu_ns=taken.cpu_ns(end_ns), lag_ns=taken.lag_ns(end_ns))


def own_work(requests_to: Callable[[str], Sequence[Request]]) -> AsyncAgent:
    """One of our own agents as a callable: it sends its requests one after the other; the tap keeps the times.

    Args:
        requests_to: its requests for a base address.
    """

    async def work(url: str) -> None:
        for request in requests_to(url):
            reader, writer = await asyncio.open_connection(request.host, request.port)
            try:
                writer.write(request.signed())
                ending = Ending()
                while (data := await reader.read(65536)) and not ending.add(data):
                    pass
            finally:
                writer.close()

    return work


def _heard(member: Member, ways: Sequence[Carried], taken: Taken, *, started_ns: int) -> Heard:
    """The generation requests on all connections of an agent.

    Raises:
        MeasurementError: a server failed, or the agent speaks no HTTP.
    """
    asked = [one for way in ways for one in spoken(way, taken, label=member.label) if one.generation]
    timed = [(timing(one), one.exchange) for one in sorted(asked, key=lambda one: one.exchange.sent_ns)]
    timed = [(request, exchange) for request, exchange in timed if request.done_reason not in LOADS]
    handed = [one.handed_ns for way in ways for one in way.up.passed if one.handed_ns]
    return Heard(
        requests=tuple(request for request, _ in timed),
        exchanges=tuple(exchange for _, exchange in timed),
        first_ns=min(handed, default=taken.start_ns),
        start_up_ns=max(0, min((way.first_ns for way in ways if way.first_ns), default=taken.end_ns) - started_ns),
    )


def _asked(ways: Sequence[Carried], taken: Taken) -> list[str]:
    """What else an agent asked for, in words."""
    asked = [one for way in ways for one in spoken(way, taken, label="")]
    return [f"{one.method} {one.path}" for one in asked]
