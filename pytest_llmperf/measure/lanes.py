"""The clients of a part: one for each agent, or several for a recorded agent that has requests under way at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_llmperf.measure.client_times import client_times
from pytest_llmperf.measure.runtimes.runtime import Clients, Part
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.measure.wire.prepared_request import Request
from pytest_llmperf.model import Place, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Requests of one agent, each of which waits for the one before it.

    Attributes:
        agent: its index in the part.
        positions: positions of these requests among the agent's requests.
        steps: the steps of these requests; they wait for places in lanes.
    """

    agent: int
    positions: tuple[int, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientWork:
    """The work of an agent's clients.

    Attributes:
        exchanges: the exchanges in the order of the agent's requests.
        client_ns, paused_ns: see `client_times`; of several lanes the largest, and the time with no request under way.
        lag_ns: the largest of the clients.
    """

    exchanges: tuple[Exchange, ...]
    client_ns: int
    paused_ns: int
    lag_ns: int


def lanes_of(steps: Sequence[Sequence[Step]], free: Sequence[bool]) -> tuple[Lane, ...]:
    """The lanes of a part's agents, in the agents' order.

    Args:
        steps: the steps of each agent.
        free: for each agent, whether its requests wait only as their steps say, and not for its previous request.
    """
    lanes = [
        (agent, lane)
        for agent, own in enumerate(steps)
        for lane in (_lanes_of(agent, own) if free[agent] else [tuple(range(len(own)))])
    ]
    at: dict[Place, Place] = {
        (agent, position): (number, index)
        for number, (agent, lane) in enumerate(lanes)
        for index, position in enumerate(lane)
    }
    made = []
    for number, (agent, lane) in enumerate(lanes):
        own = tuple(
            replace(step, waits_for=tuple(at[place] for place in step.waits_for if at[place][0] != number))
            for step in (steps[agent][position] for position in lane)
        )
        made.append(Lane(agent=agent, positions=lane, steps=own))
    return tuple(made)


def clients_of(lanes: Sequence[Lane], requests: Sequence[Sequence[Request]]) -> Clients:
    """The requests of each lane, taken from the requests of each agent."""
    return [
        [
            replace(requests[lane.agent][position], step=step)
            for position, step in zip(lane.positions, lane.steps, strict=True)
        ]
        for lane in lanes
    ]


def work_of(agents: int, lanes: Sequence[Lane], part: Part) -> tuple[ClientWork, ...]:
    """The work of each agent's clients."""
    times = client_times(part.start_ns, [lane.steps for lane in lanes], part.exchanges)
    works = []
    for agent in range(agents):
        numbers = [number for number, lane in enumerate(lanes) if lane.agent == agent]
        sent = {
            position: exchange
            for number in numbers
            for position, exchange in zip(lanes[number].positions, part.exchanges[number], strict=True)
        }
        exchanges = tuple(sent[position] for position in sorted(sent))
        client_ns = max(times[number].client_ns for number in numbers)
        paused_ns = times[numbers[0]].paused_ns
        if len(numbers) > 1:
            paused_ns = max(0, idle_ns(part.start_ns, exchanges) - client_ns)
        works.append(
            ClientWork(
                exchanges=exchanges,
                client_ns=client_ns,
                paused_ns=paused_ns,
                lag_ns=max(part.lag_ns[number] for number in numbers),
            )
        )
    return tuple(works)


def _lanes_of(agent: int, steps: Sequence[Step]) -> list[tuple[int, ...]]:
    """The positions of an agent's requests, in as few lanes as the order in which they were sent allows."""
    waited: list[int] = []  # a bit for each of the agent's requests that it waits for, directly or not
    lanes: list[list[int]] = []
    for position, step in enumerate(steps):
        bits = 0
        for at in (at for waiter, at in step.waits_for if waiter == agent):
            bits |= 1 << at | waited[at]
        waited.append(bits)
        lane = next((lane for lane in lanes if bits >> lane[-1] & 1), None)
        if lane is None:
            lanes.append([position])
        else:
            lane.append(position)
    return list(map(tuple, lanes))


def idle_ns(start_ns: int, exchanges: Sequence[Exchange]) -> int:
    """The time in which no request was under way, until the last had ended."""
    sum_ns, free_ns = 0, start_ns
    for exchange in sorted(exchanges, key=lambda each: each.sent_ns):
        sum_ns += max(0, exchange.sent_ns - free_ns)
        free_ns = max(free_ns, exchange.ended_ns)
    return sum_ns
