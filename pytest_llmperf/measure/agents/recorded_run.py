"""Runs external agents once to record what they ask, whatever becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import LlmperfError, MeasurementError
from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.external_agents import LOADS
from pytest_llmperf.measure.agents.member_agents import Agents
from pytest_llmperf.measure.agents.recorder import Asked
from pytest_llmperf.measure.tap.http_exchanges import exchanges_of, timing
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.recording import Capture
from pytest_llmperf.model.endpoints import is_control


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """The requests of the agents in a recorded run.

    Attributes:
        asked: the answered requests of each member.
        start_ns: when the barrier opened.
        end: how the run ended, one of `recorded_requests.ENDS`.
        failure: the failure of an agent or a server; None if there was none.
        unknown: method and path of requests to unknown endpoints that may generate something.
    """

    asked: tuple[tuple[Asked, ...], ...]
    start_ns: int
    end: str
    failure: LlmperfError | None
    unknown: frozenset[str] = frozenset()


def run_recorded(members: Sequence[Member], *, tap: Tap, model: str, timeout_s: float) -> RecordedRun:
    """Runs agents at once, behind one barrier, until all have ended, one has failed, or Ctrl-C.

    Args:
        members: the agents.
        tap: forwards for them.
        model: its name on the servers, for the commands' environment.
        timeout_s: maximum run time of an agent, s.

    Raises:
        LlmperfError: a server cannot be reached, or the tap died.
    """
    part, failure, end = Agents.opened(members, tap=tap, model=model, timeout_s=timeout_s), None, "complete"
    try:
        try:
            capture, failure = part.run()
        except KeyboardInterrupt:
            end = "interrupted"
            part.kill()
            capture = tap.take()
    except BaseException:
        part.kill()
        tap.close()  # whatever it was doing
        raise
    asked, unknown = [], set[str]()
    for index, member in enumerate(members):
        answered, fault = _answered(capture, index, member, unknown, to_the_end=end == "complete" and failure is None)
        asked.append(answered)
        failure = failure or fault
    if failure is None and end == "complete":
        silent = [member for member, answered in zip(members, asked, strict=True) if not answered]
        failure = part.failures.silence(silent[0], sorted(unknown)) if silent else None
    return RecordedRun(
        asked=tuple(asked),
        start_ns=capture.start_ns,
        end="failed" if failure else end,
        failure=failure,
        unknown=frozenset(unknown),
    )


def _answered(
    capture: Capture, index: int, member: Member, unknown: set[str], *, to_the_end: bool
) -> tuple[tuple[Asked, ...], MeasurementError | None]:
    """The requests of an agent that were answered, and the first failure of a server.

    Args:
        capture: the capture of the part.
        index: the index of the agent.
        member: the agent.
        unknown: takes the requests to unknown endpoints.
        to_the_end: whether all agents ended by themselves; else answers that were under way are left out.
    """
    answered: list[Asked] = []
    failure = None
    for connection in capture.agents[index]:
        try:
            for http_exchange in exchanges_of(connection, capture, label=member.label):
                if not http_exchange.generation and not is_control(http_exchange.method, http_exchange.path):
                    unknown.add(f"{http_exchange.method} {http_exchange.path}")
                if not http_exchange.generation or not (http_exchange.whole or to_the_end):
                    continue
                request = timing(http_exchange)
                if request.done_reason not in LOADS:
                    answered.append((request, http_exchange))
        except MeasurementError as error:
            failure = failure or error
    return tuple(answered), failure
