"""The requests of built-in agents as bytes, each with a unique prefix."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

from pytest_llmperf.measure.replayed_requests import Body, ReplayedBodies, recorded
from pytest_llmperf.measure.wire.openai_options import v1_options
from pytest_llmperf.measure.wire.prepared_request import Request, prepare
from pytest_llmperf.measure.wire.unique_prefix import prefixes
from pytest_llmperf.model import Agent, AnyAgent, Instance, RecordedAgent, Step

STAND_IN_ANSWER = "Understood. Please go on to the next point, and keep everything said so far in mind."
"""Replaces the model's answers in a conversation's history: a fixed text, so that every run does the same work."""


def keep_alive_s(timeout_s: float) -> int:
    """How long a server keeps the model after a request, s: longer than any request, yet not forever.

    Each request renews it. A server that the plugin did not start gets its memory back even if pytest is killed.
    """
    return round(timeout_s) + 600


def label_of(agent: AnyAgent, instance: Instance) -> str:
    """The agent and its instance, for error messages."""
    return f"agent {agent.name}, instance {instance.name} ({instance.url})"


class AgentRequests:
    """Makes the requests of built-in agents.

    Args:
        model: its name on the servers.
        keep_alive_s: how long a server keeps the model after a request, s.
        seats: number of each agent in the scenario, by name.
    """

    def __init__(self, *, model: str, keep_alive_s: int, seats: Mapping[str, int] = MappingProxyType({})) -> None:
        self._seats = seats
        self._model = model
        self._keep_alive_s = keep_alive_s
        self._prefixes: Iterator[str] = prefixes()
        self._replayed = ReplayedBodies(model)
        self._fixed: Mapping[str, str] = {}

    def of(self, agent: Agent | RecordedAgent, instance: Instance, url: str) -> tuple[Request, ...]:
        """The agent's requests as bytes, to be sent to this address: each with a prefix of its own, or as recorded.

        Raises:
            UsageError: the agent was recorded, and cannot be replayed here.
        """
        if isinstance(agent, RecordedAgent):
            bodies = [(request.path, self._replayed.of(agent, request)) for request in recorded(agent, instance)]
        else:
            bodies = self._bodies(agent, instance)
        label = label_of(agent, instance)
        return tuple(
            self._of_agent(agent, prepare(url, path, json.dumps(body).encode(), label=label, access=instance.access))
            for path, body in bodies
        )

    def _of_agent(self, agent: AnyAgent, request: Request) -> Request:
        """The request, with the agent that sends it."""
        return replace(request, agent=agent.name, seat=self._seats.get(agent.name))

    def _bodies(self, agent: Agent, instance: Instance) -> list[tuple[str, Body]]:
        """Path and body of each request of a built-in agent."""
        common: dict[str, object] = {"model": self._model, "options": agent.options.as_request(), "stream": True}
        common["keep_alive"] = self._keep_alive_s
        if agent.think is not None:
            common["think"] = agent.think
        turns = range(1, len(agent.prompts) + 1)
        bodies: list[tuple[str, dict[str, object]]]
        if instance.api == "openai":
            common = v1_options(self._model, agent.options, agent.think)
            bodies = [("/v1/chat/completions", {"messages": self._history(agent, turn)}) for turn in turns]
        elif len(agent.prompts) == 1:
            bodies = [("/api/generate", {"prompt": self._prefix_of(agent) + agent.prompts[0]})]
        else:
            bodies = [("/api/chat", {"messages": self._history(agent, turn)}) for turn in turns]
        return [(path, {**common, **body}) for path, body in bodies]

    def of_steps(
        self, agent: Agent | RecordedAgent, instance: Instance, url: str, steps: Sequence[Step]
    ) -> tuple[Request, ...]:
        """The agent's requests for these steps: its own, as often as a loop repeats them."""
        passages = range(len(steps) // len(agent.prompts if isinstance(agent, Agent) else agent.steps))
        requests = [request for _ in passages for request in self.of(agent, instance, url)]
        return tuple(replace(request, step=step) for request, step in zip(requests, steps, strict=True))

    def probes(self, agent: RecordedAgent, instance: Instance) -> Iterator[tuple[str, Request]]:
        """A small request for each path of which a body was not kept; `learn` takes what the server counts in it."""
        for path in dict.fromkeys(request.path for request in agent.requests if request.body is None):
            body = json.dumps(self._replayed.probe(path)).encode()
            probe = prepare(instance.url, path, body, label=label_of(agent, instance), access=instance.access)
            yield path, self._of_agent(agent, probe)

    def learn(self, path: str, counted: int) -> None:
        """Notes the tokens that a server counted in a probe: fillers are made smaller by what it adds."""
        self._replayed.learn(path, counted)

    def draw_prefixes(self, agents: Iterable[str]) -> dict[str, str]:
        """A fresh prefix for each of these agents, by name."""
        return {agent: next(self._prefixes) for agent in agents}

    @contextmanager
    def fixed(self, by_agent: Mapping[str, str]) -> Iterator[None]:
        """While the block runs, each of these agents' requests has the prefix given here."""
        self._fixed = by_agent
        try:
            yield
        finally:
            self._fixed = {}

    def _prefix_of(self, agent: Agent) -> str:
        return self._fixed.get(agent.name) or next(self._prefixes)

    def _history(self, agent: Agent, turns: int) -> list[dict[str, str]]:
        """The conversation up to and including the prompt of this turn, under a fresh prefix."""
        messages = []
        for prompt in agent.prompts[:turns]:
            messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": STAND_IN_ANSWER}]
        messages[0]["content"] = self._prefix_of(agent) + messages[0]["content"]
        return messages[:-1]
