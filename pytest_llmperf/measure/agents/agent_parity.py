"""Compares what implementations of one agent did at the tap, before their times are compared."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.member_agents import Agents
from pytest_llmperf.measure.tap.http_exchanges import exchanges_of, timing
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.recording import Capture

_UNIQUE = re.compile(r"[0-9a-f]{32} ")

_MISSING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRequest:
    """A request, without what differs from run to run.

    Attributes:
        method, path: method and path of the request.
        body: parsed, its prompt without the unique prefix; None if there is none, the text if it is not JSON.
        streamed: whether the answer was streamed.
        connection: index of the agent's connection that it used, from 0.
        answer: the text of the answer; not compared.
    """

    method: str
    path: str
    body: Any
    streamed: bool
    connection: int
    answer: str = ""

    def as_fields(self) -> dict[str, Any]:
        """The request's members by name; a member of the body is named `body.name`."""
        fields = {"request": f"{self.method} {self.path}", "streaming": self.streamed, "connection": self.connection}
        return {**fields, **_flat(self.body, "body")}


def run_for_parity(member: Member, *, tap: Tap, model: str, timeout_s: float) -> tuple[SentRequest, ...]:
    """Runs one implementation alone and returns its timed requests.

    Args:
        member: the implementation.
        tap: forwards for it.
        model: its name on the server, for the command's environment.
        timeout_s: maximum run time, s.

    Raises:
        LlmperfError: the implementation or the server failed.
    """
    (sent,) = run_team_for_parity([member], tap=tap, model=model, timeout_s=timeout_s)
    return sent


def run_team_for_parity(
    members: Sequence[Member], *, tap: Tap, model: str, timeout_s: float
) -> tuple[tuple[SentRequest, ...], ...]:
    """Runs the agents of a team together and returns the timed requests of each; otherwise as `run_for_parity`."""
    capture, failure = Agents.opened(members, tap=tap, model=model, timeout_s=timeout_s).run_or_kill()
    if failure:
        raise failure
    return tuple(sent_requests(capture, index, label=member.label) for index, member in enumerate(members))


def sent_requests(capture: Capture, index: int, *, label: str) -> tuple[SentRequest, ...]:
    """The timed requests of an agent, in the order in which they were sent.

    Args:
        capture: the capture of a part.
        index: the index of the agent.
        label: for error messages.

    Raises:
        MeasurementError: the agent sent bytes that are not HTTP.
    """
    timed = [
        (timing(http_exchange), http_exchange, place)
        for place, connection in enumerate(capture.agents[index])
        for http_exchange in exchanges_of(connection, capture, label=label)
        if http_exchange.generation
    ]
    timed.sort(key=lambda each: each[0].sent_ns)
    places = {place: number for number, place in enumerate(dict.fromkeys(place for *_, place in timed))}
    return tuple(
        SentRequest(
            method=http_exchange.method,
            path=http_exchange.path,
            body=_without_prefix(_parsed(http_exchange.sent)),
            streamed=request.streamed,
            connection=places[place],
            answer=request.text,
        )
        for request, http_exchange, place in timed
    )


def check_parity(requests: Mapping[str, Sequence[SentRequest]], reports: Mapping[str, bytes]) -> None:
    """Checks that all implementations did the same work as the first.

    Args:
        requests: the requests of each implementation, by name.
        reports: the report of each implementation that writes one, by name. Before reports are compared, the number of
            each answer replaces its text, which may differ from run to run.

    Raises:
        MeasurementError: an implementation differs; names the first difference.
    """
    (reference, expected), *others = requests.items()
    for name, sent in others:
        for number, (wanted, got) in enumerate(zip_longest(expected, sent), start=1):
            if difference := _difference(wanted, got):
                raise _error(f"{name} differs from {reference} in request {number}: {difference}")
    neutral = {name: _without_answers(report, requests[name]) for name, report in reports.items()}
    for name, report in neutral.items():
        first, wanted_report = next(iter(neutral.items()))
        if report != wanted_report:
            raise _error(f"{name} differs from {first} in its report: {_first_line(wanted_report, report)}")


def _error(message: str) -> MeasurementError:
    return MeasurementError(message, next_step="make the agent do what perf_suites/agents/SPEC.md says")


def _difference(wanted: SentRequest | None, got: SentRequest | None) -> str:
    """The first member that differs, in words; empty if none does."""
    if wanted is None or got is None:
        return f"wanted {_shown(wanted)}, got {_shown(got)}"
    expected, actual = wanted.as_fields(), got.as_fields()
    for name in dict.fromkeys((*expected, *actual)):
        pair = expected.get(name, _MISSING), actual.get(name, _MISSING)
        if pair[0] != pair[1] or type(pair[0]) is not type(pair[1]):
            return f"{name}: wanted {pair[0]!r}, got {pair[1]!r}"
    return ""


def _shown(request: SentRequest | None) -> str:
    return f"{request.method} {request.path}" if request else "no request"


def _without_answers(report: bytes, sent: Sequence[SentRequest]) -> bytes:
    """The report with the number of each answer in place of its text: a server's answers may differ from run to run."""
    for number, request in enumerate(sent, start=1):
        if request.answer:
            report = report.replace(request.answer.encode(), f"(answer {number})".encode(), 1)
    return report


def _first_line(wanted: bytes, got: bytes) -> str:
    lines = zip_longest(wanted.splitlines(), got.splitlines())
    for number, (expected, actual) in enumerate(lines, start=1):
        if expected != actual:
            return f"line {number}: wanted {expected!r}, got {actual!r}"
    return "line ends"


def _parsed(sent: bytes) -> Any:
    try:
        return json.loads(sent) if sent else None
    except (ValueError, RecursionError):
        return sent.decode(errors="replace")


def _without_prefix(body: Any) -> Any:
    """The body without the unique prefix of its prompt; a prompt without one is marked, and so differs."""
    if not isinstance(body, dict) or not isinstance(body.get("prompt"), str):
        return body
    match = _UNIQUE.match(body["prompt"])
    return {**body, "prompt": body["prompt"][match.end() :] if match else f"(no prefix) {body['prompt']}"}


def _flat(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {
        key: leaf for member, inner in sorted(value.items()) for key, leaf in _flat(inner, f"{name}.{member}").items()
    }
