"""Rounds: every agent alone and all together, through a barrier, in an order that balances drift."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pytest_llmperf.measure.arrival import KERNEL, READ
from pytest_llmperf.measure.decode import decode
from pytest_llmperf.measure.prefix import prefixes
from pytest_llmperf.measure.runtimes import Part, Runtime
from pytest_llmperf.measure.wire import Exchange, Request, prepare
from pytest_llmperf.model import Agent, AgentRun, Instance, RequestTiming, Round, Scenario, Topology

TOGETHER = "together"

STAND_IN_ANSWER = "Understood. Please go on to the next point, and keep everything said so far in mind."
"""What a conversation's history holds for the model's answers: fixed, so that every run does the same work."""


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
        runtime: runs the clients.
        timeout_s: most seconds for one request.

    Raises:
        ValueError: the topology lacks an instance for some agent.
    """

    def __init__(self, scenario: Scenario, topology: Topology, *, runtime: Runtime, timeout_s: float) -> None:
        self._scenario = scenario
        self._model = topology.model
        self._placement = tuple(topology.instance_of(index) for index in range(len(scenario.agents)))
        self._runtime = runtime
        self._timeout_s = timeout_s
        self._prefixes: Iterator[str] = prefixes()

    def warm_up(self, times: int) -> tuple[RequestTiming, ...]:
        """Sends every agent's first request `times` times to its instance, one at a time; no results, but answers."""
        requests = [self._requests(*one)[:1] for _ in range(times) for one in self._placed()]
        return tuple(decode(self._part((one,)).exchanges[0][0]) for one in requests)

    def run(self, index: int) -> Round:
        """One round: each agent alone and all together, in `order_of(index)`.

        Raises:
            MeasurementError: a request failed; the others of its part were given up.
        """
        placed = self._placed()
        everyone = tuple(range(len(placed)))
        members_of = {agent.name: (position,) for position, (agent, _) in enumerate(placed)} | {TOGETHER: everyone}
        order = order_of(index, tuple(agent.name for agent, _ in placed))
        parts = {name: self._part([self._requests(*placed[member]) for member in members_of[name]]) for name in order}
        runs = {name: self._runs(members_of[name], part) for name, part in parts.items()}
        sources = {one.source for part in parts.values() for client in part.exchanges for one in client}
        return Round(
            index=index,
            order=order,
            solo=tuple(runs[agent.name][0] for agent, _ in placed),
            together=runs[TOGETHER],
            timing_source=KERNEL if sources == {KERNEL} else READ,
            client_cpu_ns=parts[TOGETHER].cpu_ns,
        )

    def _placed(self) -> tuple[tuple[Agent, Instance], ...]:
        """Each agent with its instance."""
        return tuple(zip(self._scenario.agents, self._placement, strict=True))

    def _part(self, clients: Sequence[Sequence[Request]]) -> Part:
        return self._runtime.run(clients, timeout_s=self._timeout_s)

    def _runs(self, members: tuple[int, ...], part: Part) -> tuple[AgentRun, ...]:
        """What each agent of a part did, decoded."""
        runs = []
        for member, exchanges in zip(members, part.exchanges, strict=True):
            requests = tuple(decode(one) for one in exchanges)
            agent, instance = self._placed()[member]
            runs.append(
                AgentRun(
                    agent=agent.name,
                    instance=instance.name,
                    start_ns=part.start_ns,
                    requests=requests,
                    client_ns=_client_ns(part.start_ns, requests),
                    lag_ns=_lag_ns(exchanges),
                )
            )
        return tuple(runs)

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


def _client_ns(start_ns: int, requests: Sequence[RequestTiming]) -> int:
    """Time in which it was the client's turn to act."""
    free_ns = (start_ns, *(request.done_ns for request in requests[:-1]))
    return sum(max(0, request.sent_ns - free) for request, free in zip(requests, free_ns, strict=True))


def _lag_ns(exchanges: Sequence[Exchange]) -> int:
    """The 90th percentile of the time from arrival to read: what a busy client shows; 0 from read times alone."""
    lags = sorted(piece.read_ns - piece.arrival_ns for one in exchanges for piece in one.pieces)
    return lags[int(0.9 * (len(lags) - 1))] if lags else 0
