"""The best that a graph of agents could reach: its critical path if each step runs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics.graphs.critical_path import makespan_ns
from pytest_llmperf.judge.metrics.graphs.edges import edges_of
from pytest_llmperf.judge.metrics.round_checks import paired, same_work, tokens

if TYPE_CHECKING:
    from pytest_llmperf.model import Place, Round, Scenario


def graph_efficiency_pct(scenario: Scenario, round_: Round) -> float:
    """Length of the critical path when each step runs alone over the makespan, %.

    A step that generated another number of tokens alone counts per token.

    Args:
        scenario: a scenario with edges between its agents.
        round_: alone and together.

    Raises:
        MeasurementError: it is no graph, an agent is external, or a step did not run alone.
    """
    if not scenario.graph:
        raise MeasurementError(
            "graph_efficiency_pct is undefined: no agent waits for another",
            next_step="use efficiency or scaling; or say who waits for whom: Agent(after=...)",
        )
    if scenario.external:
        raise MeasurementError("graph_efficiency_pct is undefined: the steps of external agents are not known")
    paired(round_)
    return 100 * _length_alone_ns(scenario, round_) / makespan_ns(round_)


def _length_alone_ns(scenario: Scenario, round_: Round) -> float:
    """The longest chain of steps, each as long as alone."""
    edges = edges_of(scenario, round_.together)
    ends_ns: dict[Place, float] = {}
    for place in sorted(edges.requests, key=lambda place: edges.requests[place].sent_ns):  # each after those before it
        ready_ns = max((ends_ns[before] + edges.steps[before].tool_ns for before in edges.before[place]), default=0)
        ends_ns[place] = ready_ns + edges.steps[place].think_ns + _alone_ns(round_, place)
    return max(ends_ns.values())


def _alone_ns(round_: Round, place: Place) -> float:
    """The time of a step alone, for the number of tokens that it generated together."""
    agent, position = place
    solo, both = round_.solo[agent], round_.together[agent]
    if len(solo.requests) != len(both.requests):
        raise MeasurementError(
            f"agent {both.agent!r} sent {len(solo.requests)} requests alone, {len(both.requests)} together"
        )
    request, again = solo.requests[position], both.requests[position]
    alone_ns = request.done_ns - request.sent_ns
    if same_work(solo, both) or request.eval_count == again.eval_count:
        return alone_ns
    tokens((solo, both))
    return alone_ns * again.eval_count / request.eval_count
