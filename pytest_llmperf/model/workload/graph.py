"""Graphs of agents: which request waits for which, with loops unrolled."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import did_you_mean
from pytest_llmperf.model.workload.agent import Agent, ExternalAgent, Pauses
from pytest_llmperf.model.workload.recorded_agent import RecordedAgent

Place = tuple[int, int]
"""A request: the index of its agent in the scenario, and its own among the agent's; -1: the agent's last."""

LAST = -1

AnyAgent = Agent | ExternalAgent | RecordedAgent

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request of a built-in or a recorded agent.

    Attributes:
        waits_for: requests of other agents whose ends it waits for; it always waits for the agent's own one before it.
            A recorded request waits only for these, which may be its agent's own.
        think_ns: pause before it is sent, after all these have ended.
        tool_ns: how long tools take after its answer; only then has it ended.
    """

    waits_for: tuple[Place, ...] = ()
    think_ns: int = 0
    tool_ns: int = 0


AT_ONCE = Step()
"""The step of a request that waits only for the agent's previous request."""


def graph_fault(agents: Sequence[AnyAgent]) -> str:
    """What is wrong with the edges and loops between agents, in words with what to do; empty if nothing is."""
    names = [agent.name for agent in agents]
    for agent in agents:
        wanted = [name for name in names if name != agent.name]
        for name in agent.after:
            if name == agent.name:
                return f"agent {name!r} comes after itself; to repeat its work, give it loop=Loop({_back_to(name)})"
            if name not in names:
                return (
                    f"agent {agent.name!r} comes after {name!r}, which is no agent of the scenario"
                    f"{did_you_mean(name, wanted)}; wanted one of {', '.join(wanted) or 'none: it is the only agent'}"
                )
    teams = {agent.name: agent.team for agent in agents if isinstance(agent, ExternalAgent) and agent.team}
    for agent in agents:
        if name := next((name for name in (agent.name, *agent.after) if agent.after and name in teams), ""):
            return (
                f"agent {agent.name!r} comes after {', '.join(agent.after)}, but {name!r} is part of team "
                f"{teams[name]!r}, whose agents start and end together; take the team out of `after`"
            )
    try:
        tuple(graphlib.TopologicalSorter({agent.name: agent.after for agent in agents}).static_order())
    except graphlib.CycleError as error:
        circle = error.args[1]
        return (
            f"a circle without a bound: {' -> '.join(circle)}; take one of its names out of `after`, and bound the "
            f"repetition: loop=Loop({_back_to(circle[0])}) on the agent that goes back"
        )
    return _loop_fault(agents)


def steps_of(agents: Sequence[AnyAgent]) -> tuple[tuple[Step, ...], ...]:
    """The requests of each agent, in the order sent; of an external agent, whose requests are not known, the first.

    Args:
        agents: agents without a `graph_fault`.
    """
    passages, recorded = _Passages(agents), _recorded_places(agents)
    return tuple(
        _recorded_steps(agent, recorded) if isinstance(agent, RecordedAgent) else passages.steps(agent)
        for agent in agents
    )


def alone(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The same requests if the agent runs without the others: its pauses remain."""
    return tuple(Step(think_ns=step.think_ns, tool_ns=step.tool_ns) for step in steps)


def _recorded_places(agents: Sequence[AnyAgent]) -> dict[tuple[str, int], Place]:
    """The places of recorded requests, by the hash of their recording and their id in it."""
    return {
        (agent.recording, step.id): (index, at)
        for index, agent in enumerate(agents)
        if isinstance(agent, RecordedAgent)
        for at, step in enumerate(agent.steps)
    }


def _recorded_steps(agent: RecordedAgent, places: Mapping[tuple[str, int], Place]) -> tuple[Step, ...]:
    """The requests of a recorded agent; what they wait for is left out if it is not in the scenario."""
    return tuple(
        Step(
            waits_for=tuple(places[agent.recording, id_] for id_ in step.after if (agent.recording, id_) in places),
            think_ns=round(step.pause_ms * 1e6),
        )
        for step in agent.steps
    )


class _Passages:
    """How often each agent does its work, and where each time ends.

    Args:
        agents: the agents of a scenario.
    """

    def __init__(self, agents: Sequence[AnyAgent]) -> None:
        self._agents = {agent.name: agent for agent in agents}
        self._places = {agent.name: place for place, agent in enumerate(agents)}
        self._closing = {
            name: agent
            for agent in agents
            if isinstance(agent, Agent) and agent.loop is not None
            for name in body_of(agents, agent)
        }

    def steps(self, agent: Agent | ExternalAgent) -> tuple[Step, ...]:
        """The requests of an agent."""
        if isinstance(agent, ExternalAgent):
            return (Step(waits_for=tuple(self._end(name, agent, 0) for name in agent.after)),)
        closing = self._closing.get(agent.name)
        steps: list[Step] = []
        for passage in range(self._times(agent.name)):
            waits_for = [self._end(name, agent, passage) for name in agent.after]
            if passage and closing and closing.loop and closing.loop.back_to == agent.name != closing.name:
                waits_for.append(self._end(closing.name, agent, passage - 1))
            for prompt in range(len(agent.prompts)):
                follows = prompt + 1 < len(agent.prompts)
                steps.append(
                    Step(
                        waits_for=() if prompt else tuple(waits_for),
                        think_ns=_pause_ns(agent.think_s, prompt),
                        tool_ns=_pause_ns(agent.tool_s, prompt) if follows or isinstance(agent.tool_s, tuple) else 0,
                    )
                )
        return tuple(steps)

    def _times(self, name: str) -> int:
        closing = self._closing.get(name)
        return closing.loop.times if closing and closing.loop else 1

    def _end(self, name: str, successor: Agent | ExternalAgent, passage: int) -> Place:
        """The end that a successor waits for: of the same passage, if both are in one loop; else of the last."""
        agent = self._agents[name]
        if isinstance(agent, RecordedAgent):
            return self._places[name], len(agent.steps) - 1
        if not isinstance(agent, Agent):
            return self._places[name], LAST
        together = name in self._closing and self._closing[name] is self._closing.get(successor.name)
        passages = passage + 1 if together else self._times(name)
        return self._places[name], passages * len(agent.prompts) - 1


def body_of(agents: Sequence[AnyAgent], closing: Agent) -> frozenset[str]:
    """The agents that a loop repeats: all on a path from the loop's first agent to `closing`, which has the loop."""
    assert closing.loop is not None
    after = {agent.name: agent.after for agent in agents}
    before = _reached(closing.name, after)
    return frozenset(name for name in before if closing.loop.back_to in _reached(name, after))


def _reached(name: str, after: Mapping[str, Sequence[str]]) -> set[str]:
    """An agent and all that it comes after, directly or not."""
    reached, left = set[str](), [name]
    while left:
        if (name := left.pop()) not in reached:
            reached.add(name)
            left += after[name]
    return reached


def _loop_fault(agents: Sequence[AnyAgent]) -> str:
    """What is wrong with the loops; the edges are right."""
    names, looped = [agent.name for agent in agents], set[str]()
    ours = {agent.name for agent in agents if isinstance(agent, Agent)}
    for agent in agents:
        if not isinstance(agent, Agent) or agent.loop is None:
            continue
        start = agent.loop.back_to
        if start not in names:
            return (
                f"the loop of agent {agent.name!r} goes back to {start!r}, which is no agent of the scenario"
                f"{did_you_mean(start, names)}; wanted one of {', '.join(names)}"
            )
        body = body_of(agents, agent)
        if not body:
            return (
                f"the loop of agent {agent.name!r} goes back to {start!r}, which it does not come after; "
                f"wanted one that it does, or {agent.name!r} itself"
            )
        if external := sorted(body - ours):
            return (
                f"the loop of agent {agent.name!r} repeats {external[0]!r}, an external agent, whose requests are not "
                "known; repeat the work inside that agent"
            )
        if twice := sorted(body & looped):
            return f"agent {twice[0]!r} is in two loops, wanted one at most: write the inner one as more prompts"
        looped |= body
    return ""


def _pause_ns(pauses: Pauses, prompt: int) -> int:
    return round((pauses[prompt] if isinstance(pauses, tuple) else pauses) * _NS_PER_S)


def _back_to(name: str) -> str:
    return f"back_to={name!r}, times=..."
