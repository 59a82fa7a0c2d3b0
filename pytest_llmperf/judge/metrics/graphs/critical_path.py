"""The critical path of a round: the longest chain of dependent work, from the barrier to the last answer.

The path is followed backward from the last answer: from each request to the request that it waited for longest. Every
moment of the makespan belongs to one phase of one request, so that the phases add up to the makespan.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics.graphs.edges import Edges, edges_of
from pytest_llmperf.judge.metrics.time_breakdown import phases_ns
from pytest_llmperf.model import Step, steps_of

if TYPE_CHECKING:
    from pytest_llmperf.model import AgentRun, Measurement, Place, RequestTiming, Round, Scenario

CLIENT_PHASES = ("client", "think", "tool")
"""Phases between requests: the agent's own time, pauses before a request, and tools after an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One request of a critical path.

    Attributes:
        place: agent and request, by index.
        phases_ns: by phase: from the end of the hop before, or the barrier, to its answer, and its tools if the next
            hop waits for them.
    """

    place: Place
    phases_ns: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathPart:
    """The part of the makespan that one phase of one agent takes.

    Attributes:
        agent, instance: the agent and its instance.
        phase: `queue`, `load`, `prefill`, `decode`, `rest` (in neither the client's nor the server's times), `client`,
            `think` or `tool`.
        ms: time on the critical path, mean over rounds.
        alone_ms: the time of the same requests if their agent runs alone.
        share: share of the makespan, 0 to 1.
    """

    agent: str
    instance: str
    phase: str
    ms: float
    alone_ms: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedRound:
    """The edges of one round, for drawing.

    Attributes:
        index: the round's index.
        edges: edges between agents: agent and request that ends, agent and request that waits for it, by index.
        critical: the requests of the critical path, in order: agent and request, by index.
    """

    index: int
    edges: tuple[tuple[int, ...], ...]
    critical: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalPath:
    """The critical path of a measurement.

    Attributes:
        makespan_ms: time from the barrier to the last answer, mean over rounds.
        agents: the chain of agents that was critical in most rounds.
        count: number of rounds in which this chain was critical.
        rounds: number of rounds.
        parts: the parts of the path over all rounds, the largest first; they add up to the makespan.
        inferred: whether edges were inferred from times, because agents are external.
        traced: the edges of every round.
    """

    makespan_ms: float
    agents: tuple[str, ...]
    count: int
    rounds: int
    parts: tuple[PathPart, ...]
    inferred: bool
    traced: tuple[TracedRound, ...]


def hops_of(scenario: Scenario, runs: Sequence[AgentRun]) -> tuple[Hop, ...]:
    """The critical path of a together part, from the barrier on.

    Raises:
        MeasurementError: see `edges_of`.
    """
    return _hops(edges_of(scenario, runs))


def _hops(edges: Edges) -> tuple[Hop, ...]:
    hops: list[Hop] = []
    place: Place | None = edges.last
    tool_ns = 0
    while place is not None:
        before = max(edges.before[place], key=edges.ready_ns, default=None)
        gap = _gap(edges, place, before)
        own = phases_ns(edges.requests[place]) | gap | {"tool": tool_ns}
        hops.append(Hop(place=place, phases_ns=own))
        place, tool_ns = before, gap["tool"]
    return tuple(reversed(hops))


def path_of(measurement: Measurement) -> CriticalPath | None:
    """The critical path over all rounds; None if there is no round, or a round is incomplete."""
    scenario, rounds = measurement.scenario, measurement.rounds
    try:
        edges = [edges_of(scenario, round_.together) for round_ in rounds]
    except MeasurementError:
        return None
    if not edges:
        return None
    paths = list(map(_hops, edges))
    ms, alone_ms = defaultdict[tuple[str, str, str], float](float), defaultdict[tuple[str, str, str], float](float)
    for hops, round_ in zip(paths, rounds, strict=True):
        solo = _solo_phases(scenario, round_)
        for hop in hops:
            run, usual_ns = round_.together[hop.place[0]], {**hop.phases_ns, **solo.get(hop.place, {})}
            for phase, value_ns in hop.phases_ns.items():
                key = run.agent, run.instance, phase
                ms[key] += value_ns / 1e6 / len(rounds)
                alone_ms[key] += usual_ns[phase] / 1e6 / len(rounds)
    makespan_ms = fmean(makespan_ns(round_) / 1e6 for round_ in rounds)
    chains = Counter(_chain(hops, scenario) for hops in paths)
    agents, count = chains.most_common(1)[0]
    return CriticalPath(
        makespan_ms=makespan_ms,
        agents=agents,
        count=count,
        rounds=len(rounds),
        parts=tuple(
            PathPart(
                agent=key[0],
                instance=key[1],
                phase=key[2],
                ms=value_ms,
                alone_ms=alone_ms[key],
                share=value_ms / makespan_ms,
            )
            for key, value_ms in sorted(ms.items(), key=lambda item: -item[1])
            if value_ms
        ),
        inferred=scenario.external,
        traced=tuple(
            TracedRound(
                index=round_.index,
                edges=tuple(
                    (*before, *place) for place in own.before for before in own.before[place] if before[0] != place[0]
                ),
                critical=tuple(hop.place for hop in hops),
            )
            for round_, own, hops in zip(rounds, edges, paths, strict=True)
        ),
    )


def makespan_ns(round_: Round) -> int:
    """From the barrier to the last answer."""
    return max(run.duration_ns for run in round_.together)


def share_of(scenario: Scenario, round_: Round, phase: str) -> float:
    """The share of the makespan that its critical path spends in a phase, 0 to 1.

    Raises:
        MeasurementError: the server reports no durations for a phase that needs them; or see `hops_of`.
    """
    hops = hops_of(scenario, round_.together)
    untold = [hop for hop in hops if not _request(round_, hop.place).total_duration_ns]
    if phase not in CLIENT_PHASES and untold:
        raise MeasurementError(
            f"the share of {phase} in the critical path is undefined: {len(untold)} of its {len(hops)} answers give no "
            "`total_duration`, as a /v1 answer never does",
            next_step="measure it with Ollama's own API",
        )
    # Two clocks measured `rest`: it may be a little below 0.
    return max(sum(hop.phases_ns[phase] for hop in hops) / makespan_ns(round_), 0.0)


def _request(round_: Round, place: Place) -> RequestTiming:
    return round_.together[place[0]].requests[place[1]]


def _gap(edges: Edges, place: Place, before: Place | None) -> dict[str, int]:
    """From the end of the request before, or the barrier, to the sending of this one: tools, thoughts, the client."""
    from_ns = edges.start_ns if before is None else edges.requests[before].done_ns
    tool_ns = 0 if before is None else edges.steps[before].tool_ns
    return split_gap(edges.requests[place].sent_ns - from_ns, tool_ns, edges.steps[place].think_ns)


def split_gap(gap_ns: int, tool_ns: int, think_ns: int) -> dict[str, int]:
    """A time between requests in its phases, which add up to it."""
    tool = min(max(gap_ns, 0), tool_ns)
    think = min(max(gap_ns - tool, 0), think_ns)
    return {"tool": tool, "think": think, "client": gap_ns - tool - think}


def _solo_phases(scenario: Scenario, round_: Round) -> dict[Place, dict[str, int]]:
    """What each request took when its agent ran alone, by phase but for the scenario's pauses.

    Agents that sent another number of requests are left out.
    """
    phases = {}
    for index, (run, own) in enumerate(zip(round_.solo, steps_of(scenario.agents), strict=False)):
        if len(run.requests) != len(round_.together[index].requests):
            continue
        from_ns, tool_ns = run.start_ns, 0
        for at, request in enumerate(run.requests):
            step = own[at] if at < len(own) else Step()
            gap = split_gap(request.sent_ns - from_ns, tool_ns, step.think_ns)
            from_ns, tool_ns = request.done_ns, step.tool_ns
            phases[index, at] = {**phases_ns(request), "client": gap["client"]}
    return phases


def _chain(hops: Sequence[Hop], scenario: Scenario) -> tuple[str, ...]:
    """The agents of a path, each once for as long as it is its turn."""
    names = [scenario.agents[hop.place[0]].name for hop in hops]
    return tuple(name for at, name in enumerate(names) if not at or names[at - 1] != name)
