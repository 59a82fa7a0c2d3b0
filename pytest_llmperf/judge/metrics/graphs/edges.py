"""The dependence of a round's requests: as the scenario states; for external agents, as inferred from their times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.model import ExternalAgent, Place, RecordedAgent, Step, steps_of

if TYPE_CHECKING:
    from pytest_llmperf.model import AgentRun, RequestTiming, Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """The requests of one part of a round, and what each waits for.

    Attributes:
        start_ns: when the barrier opened.
        requests: the requests by place.
        before: the places of the requests that each waits for; none: it waits for the barrier.
        steps: the steps, with the pauses of each request.
    """

    start_ns: int
    requests: Mapping[Place, RequestTiming]
    before: Mapping[Place, tuple[Place, ...]]
    steps: Mapping[Place, Step]

    def ready_ns(self, place: Place) -> int:
        """When a request has ended for those that wait for it: after its tools."""
        return self.requests[place].done_ns + self.steps[place].tool_ns

    @property
    def last(self) -> Place:
        """The request whose answer came last."""
        return max(self.requests, key=lambda place: self.requests[place].done_ns)


def edges_of(scenario: Scenario, runs: Sequence[AgentRun]) -> Edges:
    """The edges of a together part.

    Raises:
        MeasurementError: an agent sent another number of requests than its steps, or none.
    """
    requests = {(agent, at): request for agent, run in enumerate(runs) for at, request in enumerate(run.requests)}
    if not requests:
        raise MeasurementError("a round has an empty together part")
    steps, before = dict.fromkeys(requests, Step()), dict[Place, tuple[Place, ...]]()
    all_steps = steps_of(scenario.agents)
    for agent, own, run in zip(scenario.agents, all_steps, runs, strict=True):
        count = len(run.requests)
        if not count or (not isinstance(agent, ExternalAgent) and count != len(own)):
            wanted = "at least 1" if isinstance(agent, ExternalAgent) else len(own)
            raise MeasurementError(f"agent {agent.name!r} sent {count} requests, wanted {wanted}")
    for index, (agent, own) in enumerate(zip(scenario.agents, all_steps, strict=True)):
        for at in range(len(runs[index].requests)):
            place = index, at
            if not isinstance(agent, ExternalAgent) or (not at and own[at].waits_for):
                steps[place] = own[at]
                waits_for = [_at(waited, runs) for waited in own[at].waits_for]
                one_by_one = at and not isinstance(agent, RecordedAgent)
                before[place] = (*waits_for, *([(index, at - 1)] if one_by_one else []))
            else:
                before[place] = _inferred(requests[place], requests, scenario)
    return Edges(start_ns=runs[0].start_ns, requests=requests, before=before, steps=steps)


def _at(place: Place, runs: Sequence[AgentRun]) -> Place:
    """A place with its index counted from the beginning."""
    agent, position = place
    return agent, range(len(runs[agent].requests))[position]


def _inferred(request: RequestTiming, requests: Mapping[Place, RequestTiming], scenario: Scenario) -> tuple[Place, ...]:
    """The request of an external agent that ended last before this one was sent: the likeliest that it waited for."""
    ended = [
        place
        for place, earlier in requests.items()
        if isinstance(scenario.agents[place[0]], ExternalAgent) and earlier.done_ns <= request.sent_ns
    ]
    return (max(ended, key=lambda place: requests[place].done_ns),) if ended else ()
