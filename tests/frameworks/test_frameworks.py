"""Two agents of each framework through the tap: what it sees is what the servers did. `make frameworks`."""

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics import request_formulas
from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.external_agents import AgentRecording, run_tapped
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.model import RequestTiming
from tests.frameworks.catalogue import FRAMEWORKS, Framework
from tests.frameworks.conftest import Servers
from tests.frameworks.page import Row, store

pytestmark = pytest.mark.frameworks

TIMEOUT_S = 240
by_title = pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.program)


def recorded(framework: Framework, servers: Servers, tap: Tap, *words: str) -> tuple[AgentRecording, ...]:
    """Two agents at once, each on a server of its own."""
    if problem := framework.environment.problem:
        pytest.skip(f"{framework.title}: {problem}")
    for engine in servers.engines:
        engine.done.clear()
    members = [
        Member(label=f"agent {name}, instance {name}", url=url, run=(*framework.command, prompt, *words))
        for name, url, prompt in zip("ab", servers.urls, ("Name a colour.", "Name a river."), strict=True)
    ]
    return run_tapped(members, tap=tap, model=servers.model, timeout_s=TIMEOUT_S).recordings


def assert_as_served(framework: Framework, servers: Servers, recordings: tuple[AgentRecording, ...]) -> None:
    """Requests and counts equal the servers' own, request by request; TTFT is there only for streams."""
    for engine, recording in zip(servers.engines, recordings, strict=True):
        counts = [(request.prompt_eval_count, request.eval_count) for request in recording.requests]
        assert counts == [(done.prompt_eval_count, done.eval_count) for done in engine.done]
        assert {request.endpoint for request in recording.requests} == {framework.endpoint}
        assert {request.streamed for request in recording.requests} == {framework.streams}
        assert not recording.untimed
        for request in recording.requests:
            assert_timed(request)


def assert_timed(request: RequestTiming) -> None:
    assert request_formulas.e2e_ms(request) > 0
    if not request.streamed:
        with pytest.raises(MeasurementError, match="not streamed"):
            request_formulas.ttft_ms(request)
    elif request.arrivals_ns:
        assert 0 < request_formulas.ttft_ms(request) <= request_formulas.e2e_ms(request)


@by_title
def test_plain_answers_on_the_embedded_engine(
    framework: Framework, embedded: Servers, tap: Tap, rows: dict[str, Row]
) -> None:
    """Each agent asks at least once."""
    recordings = recorded(framework, embedded, tap)
    assert_as_served(framework, embedded, recordings)
    requests = [request for recording in recordings for request in recording.requests]
    row = rows.setdefault(framework.title, Row())
    row.requests = len(requests)
    row.tokens = sum(request.eval_count for request in requests)
    row.ttft = "measured" if framework.streams else "undefined"
    store(rows)


@by_title
def test_a_tool_call_on_the_simulated_server(
    framework: Framework, simulated: Servers, tap: Tap, rows: dict[str, Row]
) -> None:
    """The server calls the tool once, the agent sends its result, and the server answers in words."""
    recordings = recorded(framework, simulated, tap, "tools")
    assert_as_served(framework, simulated, recordings)
    for recording in recordings:
        assert len(recording.requests) >= 2
        first = recording.requests[0]
        assert (first.text, len(first.arrivals_ns)) == ("", 1)
        assert first.wordless_bytes > 0
    rows.setdefault(framework.title, Row()).tool_requests = sum(len(recording.requests) for recording in recordings)
    store(rows)
