"""Parts of a round: some of a scenario's agents at once, with their own connections or through the tap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmperf.errors import UsageError
from pytest_llmperf.measure.agent_requests import AgentRequests, label_of
from pytest_llmperf.measure.client_times import client_times
from pytest_llmperf.measure.decoding.decode import decode
from pytest_llmperf.measure.lanes import clients_of, idle_ns, lanes_of, work_of
from pytest_llmperf.measure.runtimes import Runtime
from pytest_llmperf.model import (
    Agent,
    AgentRun,
    AnyAgent,
    AsyncAgent,
    Command,
    ExternalAgent,
    Instance,
    RecordedAgent,
    Scenario,
    Step,
    alone,
    mates_of,
    steps_of,
    team_of,
)

if TYPE_CHECKING:
    from pytest_llmperf.measure.agents.external_agents import Progress
    from pytest_llmperf.measure.agents.recorder import Asked
    from pytest_llmperf.measure.tap.proxy_client import Tap

    Record = Callable[[Sequence[tuple[str, str, Sequence[Asked]]], int], None]

Placed = tuple[AnyAgent, Instance]
"""An agent and its instance."""


class PartRuns(NamedTuple):
    """One part of a round.

    Attributes:
        runs: what each of its agents did.
        sources: of arrival times.
        cpu_ns: CPU time of each process.
        clock_bound_ns: see `Part`.
    """

    runs: tuple[AgentRun, ...]
    sources: frozenset[str]
    cpu_ns: tuple[int, ...]
    clock_bound_ns: int | None = None


class Parts:
    """Runs parts of one scenario's rounds.

    Args:
        scenario: the agents and their work.
        requests: the requests of the agents that are not external.
        runtime: runs the clients.
        timeout_s: time limit for a request, s; behind the tap, for all requests of an agent.
        model: its name on the servers.
        tap: what all go through; None: each has its own connections.
        record: takes what the agents asked in the parts that all of them are in, and when the barrier opened.
    """

    def __init__(
        self,
        scenario: Scenario,
        requests: AgentRequests,
        *,
        runtime: Runtime,
        timeout_s: float,
        model: str,
        tap: Tap | None,
        record: Record | None,
    ) -> None:
        self._scenario = scenario
        self._steps = steps_of(scenario.agents)
        self._requests = requests
        self._runtime = runtime
        self._timeout_s = timeout_s
        self._model = model
        self._tap = tap
        self._record = record
        self._start_up_ns: dict[str, int] = {}

    def run(self, members: Sequence[Placed], *, barrier: bool = True) -> PartRuns:
        """Runs these agents at once.

        Args:
            members: one of the scenario's agents, or all.
            barrier: whether they start together; False, behind the tap only: each as soon as it can, unmeasured.

        Raises:
            MeasurementError: a request failed; the others were given up.
        """
        return self._direct(members) if self._tap is None else self._tapped(members, self._tap, barrier=barrier)

    def _steps_of(self, members: Sequence[Placed]) -> tuple[tuple[Step, ...], ...]:
        """The steps of these agents: of all together, as the graph says; of some, without waiting for the others."""
        if len(members) == len(self._steps):
            return self._steps
        own = {agent.name: alone(steps) for agent, steps in zip(self._scenario.agents, self._steps, strict=True)}
        return tuple(
            steps_of([agent])[0] if isinstance(agent, RecordedAgent) else own[agent.name] for agent, _ in members
        )

    def _direct(self, members: Sequence[Placed]) -> PartRuns:
        """Runs these agents at once, each with its own connections to its server."""
        steps = self._steps_of(members)
        requests = [
            self._requests.of_steps(ours, instance, instance.url, own)
            for (ours, instance), own in zip(not_external(members), steps, strict=True)
        ]
        lanes = lanes_of(steps, [isinstance(agent, RecordedAgent) for agent, _ in members])
        part = self._runtime.run(clients_of(lanes, requests), timeout_s=self._timeout_s)
        runs = [
            AgentRun(
                agent=agent.name,
                instance=instance.name,
                start_ns=part.start_ns,
                requests=tuple(map(decode, work.exchanges)),
                client_ns=work.client_ns,
                paused_ns=work.paused_ns,
                lag_ns=work.lag_ns,
            )
            for (agent, instance), work in zip(members, work_of(len(members), lanes, part), strict=True)
        ]
        sources = frozenset(exchange.source for client in part.exchanges for exchange in client)
        return PartRuns(tuple(runs), sources, part.cpu_ns, part.clock_bound_ns)

    def _tapped(self, members: Sequence[Placed], tap: Tap, *, barrier: bool) -> PartRuns:
        """Runs these agents at once through the tap; before the first barrier, once unmeasured: see `start_up`."""
        from pytest_llmperf.measure.agents.agent_failures import Member  # noqa: PLC0415 - only where an agent is external
        from pytest_llmperf.measure.agents.external_agents import Progress, run_tapped  # noqa: PLC0415 - as above

        if barrier and len(members) > 1 and any(agent.name not in self._start_up_ns for agent, _ in members):
            self._tapped(members, tap, barrier=False)
        steps, progress = self._steps_of(members), Progress()
        part = run_tapped(
            [
                Member(
                    label=label_of(agent, instance),
                    url=instance.url,
                    run=self._work(index, members, own, progress),
                    start_up_ns=self._start_up_ns.get(agent.name, 0),
                    access=instance.access,
                    after=_after(agent, own, members),
                    at_barrier=not own[0].waits_for,
                    team=team_of(agent),
                    team_agents=mates_of(agent, self._scenario.agents),
                )
                for index, ((agent, instance), own) in enumerate(zip(members, steps, strict=True))
            ],
            tap=tap,
            model=self._model,
            timeout_s=self._timeout_s,
            barrier=barrier,
        )
        for (agent, instance), own, recording in zip(members, steps, part.recordings, strict=True):
            if not isinstance(agent, ExternalAgent):
                recording.check_count(label_of(agent, instance), len(own))
            known_ns = self._start_up_ns.setdefault(agent.name, 0)
            self._start_up_ns[agent.name] = known_ns if own[0].waits_for else recording.start_up_ns
        times = client_times(part.start_ns, steps, [recording.exchanges for recording in part.recordings])
        if barrier and self._record is not None and len(members) == len(self._steps):
            asked = [
                (agent.name, instance.url, tuple(zip(recording.requests, recording.sent, strict=True)))
                for (agent, instance), recording in zip(members, part.recordings, strict=True)
            ]
            self._record(asked, part.start_ns)
        runs = tuple(
            AgentRun(
                agent=agent.name,
                instance=instance.name,
                start_ns=part.start_ns,
                requests=recording.requests,
                client_ns=own.client_ns
                if isinstance(agent, Agent)
                else (0 if first.waits_for else recording.forward_ns),
                paused_ns=idle_ns(part.start_ns, recording.exchanges)
                if isinstance(agent, RecordedAgent)
                else own.paused_ns,
                lag_ns=part.lag_ns,
                untimed=recording.untimed,
                workflow=recording.workflow,
                marks_fault=recording.marks_fault,
                process=recording.process,
            )
            for (agent, instance), recording, own, (first, *_) in zip(
                members, part.recordings, times, steps, strict=True
            )
        )
        return PartRuns(
            runs,
            frozenset(exchange.source for recording in part.recordings for exchange in recording.exchanges),
            (part.cpu_ns,),
        )

    def _work(
        self, index: int, members: Sequence[Placed], steps: Sequence[Step], progress: Progress
    ) -> AsyncAgent | Command:
        """The work of one of these agents behind the tap."""
        from pytest_llmperf.measure.agents.external_agents import own_work  # noqa: PLC0415 - only where an agent is external

        agent, instance = members[index]
        if not isinstance(agent, ExternalAgent):
            in_turn = isinstance(agent, Agent)
            requests_to = partial(self._requests.of_steps, agent, instance, steps=steps)
            return own_work(requests_to, index, progress, in_turn=in_turn)
        if isinstance(agent.run, str):
            raise UsageError(
                f"agent {agent.name} comes from a stored record, which has only the name of its callable: {agent.run}",
                next_step="create the scenario again from the callable",
            )
        return agent.run


def _after(agent: AnyAgent, steps: Sequence[Step], members: Sequence[Placed]) -> tuple[int, ...]:
    """The members that must have ended before this one starts; built-in agents wait for each other by themselves."""
    return tuple(
        client
        for client, _ in steps[0].waits_for
        if isinstance(agent, ExternalAgent) or isinstance(members[client][0], ExternalAgent)
    )


def not_external(members: Sequence[Placed]) -> list[tuple[Agent | RecordedAgent, Instance]]:
    """The members whose requests are known."""
    return [(agent, instance) for agent, instance in members if not isinstance(agent, ExternalAgent)]
