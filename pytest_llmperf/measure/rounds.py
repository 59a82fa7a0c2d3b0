"""Rounds: every agent alone and all together, through a barrier, in an order that balances drift."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Iterator, Sequence
from typing import Protocol

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.decode import decode
from pytest_llmperf.measure.prefix import prefixes
from pytest_llmperf.measure.wire import Clock, Exchange, Request, exchange, prepare
from pytest_llmperf.model import Agent, AgentRun, Instance, Round, Scenario, Topology

TOGETHER = "together"
RUNTIME = "asyncio"

STAND_IN_ANSWER = "Understood. Please go on to the next point, and keep everything said so far in mind."
"""What a conversation's history holds for the model's answers: fixed, so that every run does the same work."""


class Send(Protocol):
    """Performs one request; `measure.wire.exchange` in production."""

    def __call__(self, request: Request, *, timeout_s: float, clock: Clock) -> Awaitable[Exchange]:
        """Sends it and awaits the end of the answer."""


def order_of(index: int, agents: Sequence[str]) -> tuple[str, ...]:
    """The parts of a round in the order they run: rotated, so that each part stands everywhere equally often.

    >>> order_of(0, ["a", "b"]), order_of(1, ["a", "b"])
    (('a', 'b', 'together'), ('b', 'together', 'a'))
    """
    parts = [*agents, TOGETHER]
    shift = index % len(parts)
    return tuple(parts[shift:] + parts[:shift])


def keep_alive_s(timeout_s: float) -> int:
    """How long a server keeps the model after a request, seconds: beyond any request, yet not forever.

    Each request renews it; a server that is not ours gets its memory back even where we are killed.
    """
    return round(timeout_s) + 600


class Rounds:
    """Runs warm-ups and rounds of one scenario on one topology.

    Args:
        scenario: what to do.
        topology: where; needs an instance for every agent, unless it is shared.
        timeout_s: most seconds for one request.
        clock: monotonic nanoseconds.
        send: performs one request.

    Raises:
        ValueError: the topology lacks an instance for some agent.
    """

    def __init__(
        self,
        scenario: Scenario,
        topology: Topology,
        *,
        timeout_s: float,
        clock: Clock = time.monotonic_ns,
        send: Send = exchange,
    ) -> None:
        self._scenario = scenario
        self._model = topology.model
        self._placement = tuple(topology.instance_of(index) for index in range(len(scenario.agents)))
        self._timeout_s = timeout_s
        self._clock = clock
        self._send = send
        self._prefixes: Iterator[str] = prefixes()

    async def warm_up(self, times: int) -> None:
        """Sends every agent's first request `times` times to its instance, one at a time, and discards the answers."""
        for _ in range(times):
            for agent, instance in zip(self._scenario.agents, self._placement, strict=True):
                request = self._requests(agent, instance)[0]
                decode(await self._send(request, timeout_s=self._timeout_s, clock=self._clock))

    async def run(self, index: int) -> Round:
        """One round: each agent alone and all together, in `order_of(index)`.

        Raises:
            MeasurementError: a request failed; the others of its part were cancelled.
        """
        agents = self._scenario.agents
        by_name = {agent.name: position for position, agent in enumerate(agents)}
        order = order_of(index, tuple(by_name))
        solo: dict[int, AgentRun] = {}
        together: tuple[AgentRun, ...] = ()
        for part in order:
            if part == TOGETHER:
                together = await self._part(tuple(range(len(agents))))
            else:
                solo[by_name[part]] = (await self._part((by_name[part],)))[0]
        return Round(
            index=index, order=order, solo=tuple(solo[position] for position in range(len(agents))), together=together
        )

    async def _part(self, members: tuple[int, ...]) -> tuple[AgentRun, ...]:
        """Runs the agents of these positions from one barrier on; decodes when all have finished."""
        prepared = [self._requests(self._scenario.agents[member], self._placement[member]) for member in members]
        barrier = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._client(requests, barrier)) for requests in prepared]
                await asyncio.sleep(0)  # every client now waits at the barrier
                start_ns = self._clock()
                barrier.set()
        except* MeasurementError as failures:
            raise failures.exceptions[0] from None
        return tuple(
            AgentRun(
                agent=self._scenario.agents[member].name,
                instance=self._placement[member].name,
                start_ns=start_ns,
                requests=tuple(decode(done) for done in task.result()),
            )
            for member, task in zip(members, tasks, strict=True)
        )

    async def _client(self, requests: Sequence[Request], barrier: asyncio.Event) -> list[Exchange]:
        """One agent: waits at the barrier, then sends its requests one after the other."""
        await barrier.wait()
        return [await self._send(request, timeout_s=self._timeout_s, clock=self._clock) for request in requests]

    def _requests(self, agent: Agent, instance: Instance) -> tuple[Request, ...]:
        """The agent's requests as bytes, each with a prefix of its own."""
        label = f"agent {agent.name}, instance {instance.name} ({instance.url})"
        common: dict[str, object] = {"model": self._model, "options": agent.options.as_request(), "stream": True}
        common["keep_alive"] = keep_alive_s(self._timeout_s)
        bodies: list[tuple[str, dict[str, object]]]
        if len(agent.prompts) == 1:
            bodies = [("/api/generate", {"prompt": next(self._prefixes) + agent.prompts[0]})]
        else:
            bodies = [
                ("/api/chat", {"messages": self._history(agent.prompts[:turn])})
                for turn in range(1, len(agent.prompts) + 1)
            ]
        return tuple(
            prepare(instance.url, path, json.dumps({**common, **body}).encode(), label=label) for path, body in bodies
        )

    def _history(self, prompts: Sequence[str]) -> list[dict[str, str]]:
        """The conversation up to the last of these turns, under a fresh prefix."""
        messages = []
        for prompt in prompts:
            messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": STAND_IN_ANSWER}]
        messages[0]["content"] = next(self._prefixes) + messages[0]["content"]
        return messages[:-1]
