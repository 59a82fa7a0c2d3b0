"""One search for the number of agents that the servers of a session carry."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.capacity.capacity_answer import CapacityAnswer, TriedAgents
from pytest_llmperf.judge.capacity.capacity_search import CapacitySearch, least_rounds
from pytest_llmperf.judge.capacity.request_limits import RequestLimits
from pytest_llmperf.judge.capacity.round_counts import Kept
from pytest_llmperf.judge.diagnosis.client_saturation import saturated
from pytest_llmperf.judge.metrics.request_formulas import e2e_ms
from pytest_llmperf.measure.interrupts import no_interrupt_lost
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.model import Agent, Measurement, Round, Scenario, Topology, TopologyKind
from pytest_llmperf.session.measurement.arm import Arm
from pytest_llmperf.session.measurement.measurement_context import MeasurementContext

MOST_SATURATED = 10
"""Rounds in a row in which the client may be saturated before the search ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPlan:
    """What is asked of one search.

    Attributes:
        agent: which is replicated.
        kind: topology, the same for every number of agents.
        most_agents: the largest number that is tried.
        limits: of every request.
        share: of the requests that must keep every limit, above 0 and below 1.
        correlation: of the requests of a round, at least.
        seconds: no round begins that would end later.
    """

    agent: Agent
    kind: TopologyKind
    most_agents: int
    limits: RequestLimits
    share: float
    correlation: float
    seconds: float


class CapacityRun:
    """Runs the rounds that a search asks for.

    Args:
        plan: what to search for.
        context: what the session's measurements share.
        clock: monotonic seconds.

    Attributes:
        plan: as given.
        search: the state of the search; its answer is valid after any round.
        topology: as it runs; None: it is not open yet.
        ended: why the search ended before its answer was final, in words; empty if it did not.
        failures: the error of the last round that could not be measured, by the number of agents.
    """

    def __init__(
        self, plan: CapacityPlan, context: MeasurementContext, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.plan = plan
        self.search = CapacitySearch(plan.share, plan.most_agents, correlation=plan.correlation)
        self.topology: Topology | None = None
        self.ended = ""
        self.failures: dict[int, str] = {}
        self._context = context
        self._clock = clock
        self._arms: dict[int, Arm] = {}
        self._rounds: dict[int, list[Round]] = {}
        self._saturated = 0

    @property
    def answer(self) -> CapacityAnswer:
        """The answer so far."""
        return CapacityAnswer(
            agents=self.search.carried,
            at_most=self.search.most,
            most_agents=self.plan.most_agents,
            share=self.plan.share,
            limits=self.plan.limits,
            tried=tuple(self._tried(agents) for agents, tried in sorted(self.search.tried.items()) if tried.all.rounds),
            ended=self.ended,
        )

    def _tried(self, agents: int) -> TriedAgents:
        limits, counts = self.plan.limits, self.search.tried[agents].all
        runs = [run for round_ in self._rounds.get(agents, []) for run in round_.together]
        return TriedAgents(
            agents=agents,
            rounds=counts.rounds,
            requests=counts.kept + counts.broken,
            kept=counts.kept,
            medians=limits.medians(runs),
            broken=limits.most_broken(runs),
            failure=self.failures.get(agents, ""),
        )

    @no_interrupt_lost()
    def run(self) -> None:
        """Search until the answer is final, or the time is over.

        Raises:
            LlmperfError: the servers could not be opened, one died, or a single agent could not be measured.
        """
        end_s = self._clock() + self.plan.seconds
        try:
            self.topology = self._context.pool.candidate.open(self.plan.kind, self.plan.most_agents)
            rounds = self.search.rounds()
            agents, last_s = next(rounds), 0.0
            while not self.ended:
                begun_s = self._clock()
                if begun_s + last_s > end_s:
                    self.ended = f"the time is over ({self.plan.seconds:g} s)"
                    break
                kept = self._round(agents)
                last_s = self._clock() - begun_s
                if kept is None:
                    continue
                try:
                    agents = rounds.send(kept)
                except StopIteration:
                    break
        finally:
            self._context.listener.done()

    def _round(self, agents: int) -> Kept | None:
        """A round of that number of agents; None: the client was saturated, and it does not count."""
        arm = self._arms.get(agents) or self._begun(agents)
        listener, tried = self._context.listener, self.search.tried.get(agents)
        done = tried.all.rounds if tried else 0
        listener.say(f"{agents} agents: round {done + 1}{self._so_far(agents)}")
        try:
            round_ = arm.run(done)
        except MeasurementError as error:
            if agents == 1:
                raise
            self.failures[agents] = str(error.args[0])
            del self._arms[agents]  # the next one loads the model again
            return Kept(0, agents * len(self.plan.agent.prompts))
        if reason := saturated(round_):
            self._saturated += 1
            if self._saturated >= MOST_SATURATED:
                self.ended = f"our own client cannot keep up with {agents} agents: {reason}"
            return None
        self._saturated = 0
        kept = Kept(*self.plan.limits.kept(round_.together))
        self._rounds.setdefault(agents, []).append(round_)
        return kept

    def _so_far(self, agents: int) -> str:
        tried = self.search.tried.get(agents)
        if not tried or not tried.all.rounds:
            return ""
        return f"; {tried.all.kept} of {tried.all.kept + tried.all.broken} requests kept every limit"

    def _begun(self, agents: int) -> Arm:
        """The arm of a number of agents, warmed up; the first one says how long the search takes at least."""
        assert self.topology is not None
        context, scenario = self._context, Scenario.replicated(self.plan.agent, agents)
        clients = context.clients.runtime(context.settings.runtime)
        rounds = Rounds(scenario, self.topology, runtime=clients, timeout_s=context.settings.timeout_s, alone=False)
        measurement = Measurement(
            scenario=scenario,
            topology=self.topology,
            rounds=(),
            warmups=1,
            started_at=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        )
        describe = partial(context.manifest, self.topology, clients.name)
        arm = self._arms[agents] = Arm(context.pool.candidate, rounds, measurement, describe)
        first = len(self._arms) == 1
        context.listener.step(f"{agents} agent{'s' if agents > 1 else ''}: warming up")
        if first or agents in self.failures:
            arm.load()
        answers = arm.warm_up(1)
        if first:
            slowest_s = max(map(e2e_ms, answers)) / 1e3
            least = least_rounds(self.plan.share, self.plan.most_agents, self.plan.correlation)
            context.listener.step(
                f"the search takes {least} rounds or more of {slowest_s:.2g} s or more: {least * slowest_s:.0f} s at "
                f"least, and {self.plan.seconds:g} s at most"
            )
        return arm
