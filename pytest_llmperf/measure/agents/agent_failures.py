"""The errors for external agents that fail, end without a request, or do not end in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_llmperf.errors import LlmperfError, MeasurementError
from pytest_llmperf.measure.tap.recording import Capture
from pytest_llmperf.model import DIRECT, Access, AsyncAgent, Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One agent of a part.

    Attributes:
        label: for error messages.
        url: the base address of its server.
        run: what does its work.
        start_up_ns: how long it takes from its start to its first request, as far as is known.
        after: the members that must have ended before it is started, by index.
        at_barrier: whether the barrier waits for its first request.
        access: how its server is reached.
        team: the name of the team whose program it is part of; empty: its program is its own.
        team_agents: the names of all agents of the team.
    """

    label: str
    url: str
    run: AsyncAgent | Command = field(repr=False)
    start_up_ns: int = 0
    after: tuple[int, ...] = ()
    at_barrier: bool = True
    access: Access = DIRECT
    team: str = ""
    team_agents: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The label without the instance."""
        return self.label.partition(",")[0]

    @property
    def agent(self) -> str:
        """The agent's name in its scenario."""
        return self.name.removeprefix("agent ")


class AgentFailures:
    """Makes the errors for the agents of one part.

    Args:
        members: the agents.
        timeout_s: maximum run time of an agent, s.

    Attributes:
        started_ns: when each agent was started; only agents that were.
        outputs: the end of each command's output; only commands that have ended.
    """

    def __init__(self, members: Sequence[Member], *, timeout_s: float) -> None:
        self._members = tuple(members)
        self._timeout_s = timeout_s
        self.started_ns: dict[Member, int] = {}
        self.outputs: dict[Member, str] = {}

    def silence(self, member: Member, asked: Sequence[str]) -> MeasurementError:
        """The error for an agent that ended without a generation request."""
        instead = f" (only {', '.join(sorted(set(asked)))})" if asked else ""
        if member.team:
            return MeasurementError(
                f"{member.label}: team {member.team!r} ended without a generation request of this agent through its "
                f"address{instead}" + self.outputs.get(member, ""),
                next_step=f"make the program run the agents that LLMPERF_AGENTS names, this one with the address in "
                f"LLMPERF_BASE_URL_{member.agent.upper()} or {{url:{member.agent}}}",
            )
        return MeasurementError(
            f"{member.label}: the agent ended without a generation request through its address{instead}"
            + self.outputs.get(member, ""),
            next_step="make it use the address that it is given: the callable's argument, or OLLAMA_HOST, "
            "LLMPERF_BASE_URL, OPENAI_BASE_URL or {url} in a command",
        )

    def late(self, members: Sequence[Member], *, released: bool) -> MeasurementError:
        """The error for agents that did not end."""
        state = "" if released else " (not every agent had sent its first request)"
        return MeasurementError(
            "\n".join(
                f"{member.label}: the agent did not end within {self._timeout_s:g} s{state}"
                + self.outputs.get(member, "")
                for member in members
            ),
            next_step="look at the server's log, or raise --llmperf-timeout: it limits the whole run of such an agent",
        )

    def explained(self, failure: LlmperfError, capture: Capture, failed: Member | None) -> LlmperfError:
        """The failure, with what the tap knows about its agent (`failed`), or with the agents that were waited for."""
        if failed is not None:
            return self._of_agent(failed, capture, failure)
        if capture.start_ns or len(self._members) == 1:
            return failure
        return _with(failure, self._awaited(capture, capture.end_ns), failure.next_step)

    def _of_agent(self, member: Member, capture: Capture, failure: LlmperfError) -> LlmperfError:
        """The failure of an agent, with what the tap knows.

        That is a server that it could not connect to, or requests that the agent gave up at the barrier.
        """
        connections = capture.agents[self._members.index(member)]
        if fault := next((connection.fault for connection in connections if connection.fault), ""):
            return _with(
                failure,
                f"\n  the tap could not connect to {member.url}: {fault}",
                "look at the server's log; if its certificate is new, give its authority's with --llmperf-ca",
            )
        given_up = [connection for connection in connections if connection.given_up_ns and connection.first_ns]
        if not given_up:
            return failure
        waited_s = max(connection.given_up_ns - connection.first_ns for connection in given_up) / 1e9
        requests = "its request" if len(given_up) == 1 else f"{len(given_up)} requests"
        text = f"\n  it gave up {requests} after {waited_s:.1f} s at the barrier, where all agents wait for the slowest"
        return _with(
            failure,
            text + self._awaited(capture, min(connection.given_up_ns for connection in given_up)),
            f"give the client of {member.name} a timeout well above {waited_s:.1f} s, or make the agent that it waits "
            "for send its first request sooner",
        )

    def _awaited(self, capture: Capture, at_ns: int) -> str:
        """The agents that had sent nothing at that moment, a line for each, with the time since its start."""
        words = []
        for member, connections in zip(self._members, capture.agents, strict=True):
            if any(0 < connection.first_ns <= at_ns for connection in connections):
                continue
            started_ns = self.started_ns.get(member)
            since = (
                f", {(at_ns - started_ns) / 1e9:.1f} s after its start" if started_ns else ": it was not started yet"
            )
            words.append(f"\n  waited for {member.name}, which had sent no request{since}")
        return "".join(words)


def _with(failure: LlmperfError, text: str, next_step: str) -> LlmperfError:
    """The same failure with more to say."""
    said = MeasurementError(f"{failure.args[0]}{text}", next_step=next_step)
    said.__cause__ = failure.__cause__
    return said
