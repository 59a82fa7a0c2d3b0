"""Rounds: every agent alone and all together, through a barrier, in an order that balances drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmperf.errors import UsageError
from pytest_llmperf.measure.agent_requests import AgentRequests, keep_alive_s
from pytest_llmperf.measure.decoding.decode import decode
from pytest_llmperf.measure.parts import Parts, Placed, not_external
from pytest_llmperf.measure.runtimes import Runtime
from pytest_llmperf.measure.wire.arrival import KERNEL, READ
from pytest_llmperf.model import (
    Agent,
    Answered,
    RecordedAgent,
    RequestTiming,
    Round,
    Scenario,
    Topology,
    steps_of,
)

if TYPE_CHECKING:
    from pytest_llmperf.measure.parts import Record
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


class Rounds:
    """Runs warm-ups and rounds of one scenario on one topology.

    If any agent is external, all go through the tap, so that all are measured alike and start at the same moment.

    Args:
        scenario: the agents and their work.
        topology: the servers; needs an instance for every agent, unless it is shared.
        runtime: runs the clients.
        timeout_s: time limit for a request, s; behind the tap, for all requests of an agent.
        tap: forwards for external agents; needed if there are any, or with `record`.
        record: takes what the agents asked in a round, see `Recorder.recording`, and when the barrier opened.
        alone: whether each agent also runs alone; if not, the rounds have no solo runs.

    Raises:
        ValueError: the topology lacks an instance for some agent.
        UsageError: some agent is external, and the server is behind a proxy, or an agent pauses at the barrier.
    """

    def __init__(
        self,
        scenario: Scenario,
        topology: Topology,
        *,
        runtime: Runtime,
        timeout_s: float,
        tap: Tap | None = None,
        record: Record | None = None,
        alone: bool = True,
    ) -> None:
        self._scenario = scenario
        self._alone = alone
        self._placement = tuple(topology.instance_of(index) for index in range(len(scenario.agents)))
        self._runtime = runtime
        self._timeout_s = timeout_s
        self._tapped = scenario.external or record is not None
        if self._tapped and any(instance.access.proxy for instance in self._placement):
            raise UsageError(
                "external agents are measured by a tap, which does not go through a proxy",
                next_step="measure them from where the server can be reached, without --llmperf-proxy",
            )
        pauses_first = [
            agent
            for agent, (first, *_) in zip(scenario.agents, steps_of(scenario.agents), strict=True)
            if first.think_ns and not first.waits_for
        ]
        if self._tapped and pauses_first:
            raise UsageError(
                f"agent {pauses_first[0].name} pauses before its first request, at the barrier, where all agents wait "
                "for the first request of each: it cannot be measured beside external agents, nor while it is recorded",
                next_step="let its think_s begin with 0: one number for each prompt"
                if isinstance(pauses_first[0], Agent)
                else "replay it without pauses: Scenario.from_recording(..., max_pause_s=0)",
            )
        self._requests = AgentRequests(
            model=topology.model,
            keep_alive_s=keep_alive_s(timeout_s),
            seats={agent.name: index for index, agent in enumerate(scenario.agents)},
        )
        self._parts = Parts(
            scenario,
            self._requests,
            runtime=runtime,
            timeout_s=timeout_s,
            model=topology.model,
            tap=tap if self._tapped else None,
            record=record,
        )

    def warm_up(self, times: int) -> tuple[RequestTiming, ...]:
        """Sends every agent's first request `times` times to its instance, all at once; no results, but answers.

        The first request of an external agent is not known: if there is one, all agents do all their work, each as soon
        as it can. That shows how long each takes to start up.
        """
        placed, answers = self._placed(), []
        for agent, instance in placed:
            for path, probe in self._requests.probes(agent, instance) if isinstance(agent, RecordedAgent) else ():
                ((exchange,),) = self._runtime.run([[probe]], timeout_s=self._timeout_s).exchanges
                self._requests.learn(path, decode(exchange).prompt_eval_count)
        for _ in range(times):
            if self._tapped:
                answers += [request for run in self._parts.run(placed, barrier=False).runs for request in run.requests]
                continue
            firsts = [self._requests.of(ours, instance, instance.url)[:1] for ours, instance in not_external(placed)]
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
        several = self._alone and len(placed) > 1
        order = order_of(index, tuple(agent.name for agent, _ in placed)) if several else (TOGETHER,)
        parts = {name: self._parts.run(members_of[name]) for name in order}
        if self._alone and not several:
            parts[placed[0][0].name] = parts[TOGETHER]
        sources = frozenset().union(*(part.sources for part in parts.values()))
        return Round(
            index=index,
            order=order,
            solo=tuple(parts[agent.name].runs[0] for agent, _ in placed) if self._alone else (),
            together=parts[TOGETHER].runs,
            timing_source=KERNEL if sources == {KERNEL} else READ,
            client_cpu_ns=parts[TOGETHER].cpu_ns,
            clock_bound_ns=parts[TOGETHER].clock_bound_ns,
        )

    def answers(self, times: int) -> tuple[Answered, ...]:
        """The agents' answers alone, alone again, and together, to the same prompts with the same prefixes; not timed.

        Every prompt is asked alone before the first one is asked together, so that no server has cached its work.

        Raises:
            UsageError: an agent is external, so that its prompts cannot be repeated.
            MeasurementError: a request failed.
        """
        if not self._scenario.ours:
            raise UsageError(
                "answers can be compared only for agents with prompts, not for external or recorded agents",
                next_step="give Agent(...) with the prompts that matter",
            )
        placed, said = self._placed(), []
        prefixes = [self._requests.draw_prefixes(agent.name for agent, _ in placed) for _ in range(times)]
        for parts in ([[member] for member in placed], [[member] for member in placed], [placed]):
            for fixed in prefixes:
                with self._requests.fixed(fixed):
                    runs = [run for members in parts for run in self._parts.run(members).runs]
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

    def _placed(self) -> tuple[Placed, ...]:
        """Each agent with its instance."""
        return tuple(zip(self._scenario.agents, self._placement, strict=True))
