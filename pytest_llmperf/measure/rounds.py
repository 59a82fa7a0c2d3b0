"""Rounds: every agent alone and all together, through a barrier, in an order that balances drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmperf.errors import UsageError
from pytest_llmperf.measure.agent_requests import AgentRequests, keep_alive_s, label_of
from pytest_llmperf.measure.client_times import client_times
from pytest_llmperf.measure.decoding.decode import decode
from pytest_llmperf.measure.runtimes import Runtime
from pytest_llmperf.measure.wire.arrival import KERNEL, READ
from pytest_llmperf.model import (
    Agent,
    AgentRun,
    Answered,
    AsyncAgent,
    Command,
    ExternalAgent,
    Instance,
    RequestTiming,
    Round,
    Scenario,
    Step,
    Topology,
    alone,
    steps_of,
)

if TYPE_CHECKING:
    from pytest_llmperf.measure.agents.external_agents import Progress
    from pytest_llmperf.measure.tap.proxy_client import Tap

TOGETHER = "together"

EXTERNAL_NOTE = (
    "external agents send prompts of their own, which cannot be given unique prefixes: a server's prompt "
    "cache may speed up later rounds; let each agent vary the beginning of its prompts"
)
"""A note for the measurement if an agent is external."""


def order_of(index: int, agents: Sequence[str]) -> tuple[str, ...]:
    """The parts of a round in the order they run: rotated, so that each part is at each position equally often.

    >>> order_of(0, ["a", "b"]), order_of(1, ["a", "b"])
    (('a', 'b', 'together'), ('b', 'together', 'a'))
    """
    parts = [*agents, TOGETHER]
    shift = index % len(parts)
    return tuple(parts[shift:] + parts[:shift])


class _Part(NamedTuple):
    """One part of a round: what each of its agents did, the sources of arrival times, the CPU time of each process."""

    runs: tuple[AgentRun, ...]
    sources: frozenset[str]
    cpu_ns: tuple[int, ...]


class Rounds:
    """Runs warm-ups and rounds of one scenario on one topology.

    If any agent is external, all go through the tap, so that all are measured alike and start at the same moment.

    Args:
        scenario: the agents and their work.
        topology: the servers; needs an instance for every agent, unless it is shared.
        runtime: runs the clients.
        timeout_s: time limit for a request, s; behind the tap, for all requests of an agent.
        tap: forwards for external agents; needed if there are any.

    Raises:
        ValueError: the topology lacks an instance for some agent.
        UsageError: some agent is external, and the server is behind a proxy, or an agent pauses at the barrier.
    """

    def __init__(
        self, scenario: Scenario, topology: Topology, *, runtime: Runtime, timeout_s: float, tap: Tap | None = None
    ) -> None:
        self._scenario = scenario
        self._steps = steps_of(scenario.agents)
        self._model = topology.model
        self._placement = tuple(topology.instance_of(index) for index in range(len(scenario.agents)))
        self._runtime = runtime
        self._timeout_s = timeout_s
        self._tap = tap if scenario.external else None
        if scenario.external and any(instance.access.proxy for instance in self._placement):
            raise UsageError(
                "external agents are measured by a tap, which does not go through a proxy",
                next_step="measure them from where the server can be reached, without --llmperf-proxy",
            )
        pauses_first = [
            agent.name
            for agent, (first, *_) in zip(scenario.agents, self._steps, strict=True)
            if first.think_ns and not first.waits_for
        ]
        if scenario.external and pauses_first:
            raise UsageError(
                f"agent {pauses_first[0]} pauses before its first request, at the barrier, where all agents wait for "
                "the first request of each: this cannot be measured beside external agents",
                next_step="let its think_s begin with 0: one number for each prompt",
            )
        self._requests = AgentRequests(model=topology.model, keep_alive_s=keep_alive_s(timeout_s))
        self._start_up_ns: dict[str, int] = {}

    def warm_up(self, times: int) -> tuple[RequestTiming, ...]:
        """Sends every agent's first request `times` times to its instance, all at once; no results, but answers.

        The first request of an external agent is not known: if there is one, all agents do all their work, each as soon
        as it can. That shows how long each takes to start up.
        """
        placed, answers = self._placed(), []
        for _ in range(times):
            if self._tap is not None:
                answers += [request for run in self._tapped(placed, barrier=False).runs for request in run.requests]
                continue
            firsts = [
                self._requests.of(agent, instance, instance.url)[:1]
                for agent, instance in placed
                if isinstance(agent, Agent)
            ]
            part = self._runtime.run(firsts, timeout_s=self._timeout_s)
            answers += [decode(exchanges[0]) for exchanges in part.exchanges]
        return tuple(answers)

    def run(self, index: int) -> Round:
        """One round: each agent alone and all together, in `order_of(index)`; of one agent, both are the same.

        Raises:
            MeasurementError: a request failed; the others of its part were given up.
        """
        placed = self._placed()
        members_of = {agent.name: [(agent, instance)] for agent, instance in placed} | {TOGETHER: list(placed)}
        order = order_of(index, tuple(agent.name for agent, _ in placed)) if len(placed) > 1 else (TOGETHER,)
        parts = {name: self._part(members_of[name]) for name in order}
        if len(placed) == 1:
            parts[placed[0][0].name] = parts[TOGETHER]
        sources = frozenset().union(*(part.sources for part in parts.values()))
        return Round(
            index=index,
            order=order,
            solo=tuple(parts[agent.name].runs[0] for agent, _ in placed),
            together=parts[TOGETHER].runs,
            timing_source=KERNEL if sources == {KERNEL} else READ,
            client_cpu_ns=parts[TOGETHER].cpu_ns,
        )

    def answers(self, times: int) -> tuple[Answered, ...]:
        """The agents' answers alone, alone again, and together, to the same prompts with the same prefixes; not timed.

        Every prompt is asked alone before the first one is asked together, so that no server has cached its work.

        Raises:
            UsageError: an agent is external, so that its prompts cannot be repeated.
            MeasurementError: a request failed.
        """
        if self._scenario.external:
            raise UsageError(
                "answers can be compared only for agents with prompts, not for external agents",
                next_step="give Agent(...) with the prompts that matter",
            )
        placed, said = self._placed(), []
        prefixes = [self._requests.draw_prefixes(agent.name for agent, _ in placed) for _ in range(times)]
        for parts in ([[member] for member in placed], [[member] for member in placed], [placed]):
            for fixed in prefixes:
                with self._requests.fixed(fixed):
                    runs = [run for members in parts for run in self._part(members).runs]
                said.append([[request.text or request.reasoning for request in run.requests] for run in runs])
        alone, again, together = said[:times], said[times : 2 * times], said[2 * times :]
        return tuple(
            Answered(agent=agent.name, prompt=prompt, alone=first, again=second, together=both)
            for round_ in zip(alone, again, together, strict=True)
            for agent, *texts in zip(self._scenario.agents, *round_, strict=True)
            if isinstance(agent, Agent)
            for prompt, first, second, both in zip(
                agent.prompts * (len(texts[0]) // len(agent.prompts)), *texts, strict=True
            )
        )

    def _placed(self) -> tuple[tuple[Agent | ExternalAgent, Instance], ...]:
        """Each agent with its instance."""
        return tuple(zip(self._scenario.agents, self._placement, strict=True))

    def _steps_of(self, members: Sequence[tuple[Agent | ExternalAgent, Instance]]) -> tuple[tuple[Step, ...], ...]:
        """The steps of these agents: of all together, as the graph says; of some, without waiting for the others."""
        if len(members) == len(self._steps):
            return self._steps
        own = {agent.name: alone(steps) for agent, steps in zip(self._scenario.agents, self._steps, strict=True)}
        return tuple(own[agent.name] for agent, _ in members)

    def _part(self, members: Sequence[tuple[Agent | ExternalAgent, Instance]]) -> _Part:
        """Runs these agents at once."""
        if self._tap is not None:
            return self._tapped(members)
        ours = [(agent, instance) for agent, instance in members if isinstance(agent, Agent)]
        steps = self._steps_of(members)
        clients = [
            self._requests.of_steps(agent, instance, instance.url, own)
            for (agent, instance), own in zip(ours, steps, strict=True)
        ]
        part = self._runtime.run(clients, timeout_s=self._timeout_s)
        times = client_times(part.start_ns, steps, part.exchanges)
        runs = [
            AgentRun(
                agent=agent.name,
                instance=instance.name,
                start_ns=part.start_ns,
                requests=tuple(map(decode, exchanges)),
                client_ns=own.client_ns,
                paused_ns=own.paused_ns,
                lag_ns=lag_ns,
            )
            for (agent, instance), exchanges, own, lag_ns in zip(
                members, part.exchanges, times, part.lag_ns, strict=True
            )
        ]
        sources = frozenset(exchange.source for client in part.exchanges for exchange in client)
        return _Part(tuple(runs), sources, part.cpu_ns)

    def _tapped(self, members: Sequence[tuple[Agent | ExternalAgent, Instance]], *, barrier: bool = True) -> _Part:
        """Runs these agents at once through the tap; before the first barrier, once unmeasured: see `start_up`."""
        from pytest_llmperf.measure.agents.agent_failures import Member  # noqa: PLC0415 - only where an agent is external
        from pytest_llmperf.measure.agents.external_agents import Progress, run_tapped  # noqa: PLC0415 - as above

        assert self._tap is not None
        if barrier and len(members) > 1 and any(agent.name not in self._start_up_ns for agent, _ in members):
            self._tapped(members, barrier=False)
        steps, progress = self._steps_of(members), Progress()
        part = run_tapped(
            [
                Member(
                    label=label_of(agent, instance),
                    url=instance.url,
                    run=self._work(agent, instance, own, progress),
                    start_up_ns=self._start_up_ns.get(agent.name, 0),
                    access=instance.access,
                    after=_after(agent, own, members),
                    at_barrier=not own[0].waits_for,
                )
                for (agent, instance), own in zip(members, steps, strict=True)
            ],
            tap=self._tap,
            model=self._model,
            timeout_s=self._timeout_s,
            barrier=barrier,
        )
        self._start_up_ns |= {
            agent.name: recording.start_up_ns for (agent, _), recording in zip(members, part.recordings, strict=True)
        }
        times = client_times(part.start_ns, steps, [recording.exchanges for recording in part.recordings])
        runs = tuple(
            AgentRun(
                agent=agent.name,
                instance=instance.name,
                start_ns=part.start_ns,
                requests=recording.requests,
                client_ns=own.client_ns
                if isinstance(agent, Agent)
                else (0 if first.waits_for else recording.first_ns - part.start_ns),
                paused_ns=own.paused_ns,
                lag_ns=part.lag_ns,
                untimed=recording.untimed,
            )
            for (agent, instance), recording, own, (first, *_) in zip(
                members, part.recordings, times, steps, strict=True
            )
        )
        return _Part(
            runs,
            frozenset(exchange.source for recording in part.recordings for exchange in recording.exchanges),
            (part.cpu_ns,),
        )

    def _work(
        self, agent: Agent | ExternalAgent, instance: Instance, steps: Sequence[Step], progress: Progress
    ) -> AsyncAgent | Command:
        """The work of an agent behind the tap."""
        from pytest_llmperf.measure.agents.external_agents import own_work  # noqa: PLC0415 - only where an agent is external

        if isinstance(agent, Agent):
            place = self._scenario.agents.index(agent)
            return own_work(lambda url: self._requests.of_steps(agent, instance, url, steps), place, progress)
        if isinstance(agent.run, str):
            raise UsageError(
                f"agent {agent.name} comes from a stored record, which has only the name of its callable: {agent.run}",
                next_step="create the scenario again from the callable",
            )
        return agent.run


def _after(
    agent: Agent | ExternalAgent, steps: Sequence[Step], members: Sequence[tuple[Agent | ExternalAgent, Instance]]
) -> tuple[int, ...]:
    """The members that must have ended before this one is started; our own agents wait for each other by themselves."""
    return tuple(
        client
        for client, _ in steps[0].waits_for
        if isinstance(agent, ExternalAgent) or isinstance(members[client][0], ExternalAgent)
    )
