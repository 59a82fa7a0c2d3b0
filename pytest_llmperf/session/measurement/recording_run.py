"""One run of external agents, only to record what they ask."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.measure.agent_requests import keep_alive_s, label_of
from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.recorded_run import run_recorded
from pytest_llmperf.model import ExternalAgent, Scenario, Topology, TopologyKind, mates_of
from pytest_llmperf.recordings.recording_file import RecordingTarget
from pytest_llmperf.session.measurement.agent_recording import AgentRecording
from pytest_llmperf.session.measurement.measurement_context import MeasurementContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The result of recording agents.

    Attributes:
        notes: what was written, in words.
        end: how the run ended, one of `recorded_requests.ENDS`.
        failure: the failure of an agent or a server; None if there was none.
    """

    notes: tuple[str, ...]
    end: str
    failure: LlmperfError | None


def record_agents(
    scenario: Scenario, kind: TopologyKind, target: RecordingTarget, context: MeasurementContext
) -> Recorded:
    """Runs the agents once, together, and writes what they asked until they had ended, failed, or Ctrl-C.

    Raises:
        UsageError: an agent is not external, or the file cannot be written.
        LlmperfError: the servers cannot be used.
    """
    lease = context.pool.candidate
    try:
        topology = lease.open(kind, len(scenario.agents))
        recording = AgentRecording(target, scenario, topology)
        lease.load(scenario, topology, keep_alive_s=keep_alive_s(context.settings.timeout_s))
        context.listener.say(f"recording {scenario.name}")
        run = run_recorded(
            _members(scenario, topology),
            tap=context.clients.tap,
            model=topology.model,
            timeout_s=context.settings.timeout_s,
        )
    finally:
        context.listener.done()
    asked = [
        (agent.name, topology.instance_of(index).url, requests)
        for index, (agent, requests) in enumerate(zip(scenario.agents, run.asked, strict=True))
    ]
    recording.keep(asked, run.start_ns, run.end)
    unknown = [f"not recorded, because the endpoint is unknown: {request}" for request in sorted(run.unknown)]
    return Recorded(notes=(*recording.notes, *unknown), end=run.end, failure=run.failure)


def _members(scenario: Scenario, topology: Topology) -> list[Member]:
    members = []
    places = {agent.name: index for index, agent in enumerate(scenario.agents)}
    for index, agent in enumerate(scenario.agents):
        if not isinstance(agent, ExternalAgent) or isinstance(agent.run, str):
            raise UsageError(
                f"agent {agent.name} cannot be recorded: wanted an async function or a command",
                next_step="agents with prompts need no recording: their requests are written in the test",
            )
        instance = topology.instance_of(index)
        members.append(
            Member(
                label=label_of(agent, instance),
                url=instance.url,
                run=agent.run,
                access=instance.access,
                after=tuple(places[name] for name in agent.after),
                at_barrier=not agent.after,
                team=agent.team,
                team_agents=mates_of(agent, scenario.agents),
            )
        )
    return members
