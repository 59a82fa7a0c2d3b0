"""What an agent's marks bound, and when they do not count."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

import httpx
import pytest

from pytest_llmperf.measure.agents.marked_workflow import workflow_of
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.measure.runtimes import runtime_of
from pytest_llmperf.measure.tap.marks import Mark
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.recording import Capture, CapturedConnection, Chunk, Stream
from pytest_llmperf.model import RequestTiming, Script, Settings, TopologyKind, Workflow, scenario_of
from pytest_llmperf.servers.backends import choose

CAPTURE = Capture(0, 0, 0, 0, ())


def marking(*marks: tuple[str, int]) -> CapturedConnection:
    return CapturedConnection(Stream((), 0), Stream((), 0), marks=tuple(Mark(kind, at, ()) for kind, at in marks))


def asking(*, arrived: int, handed: int) -> CapturedConnection:
    return CapturedConnection(Stream((Chunk(arrived, (), b"x", handed),), 0), Stream((), 0), first_ns=arrived)


REQUESTS = (
    RequestTiming(sent_ns=60, done_ns=75, arrivals_ns=(), eval_count=1),
    RequestTiming(sent_ns=80, done_ns=90, arrivals_ns=(), eval_count=1),
)
ASKED = (asking(arrived=20, handed=60), asking(arrived=80, handed=80))
MARKS = (marking(("begin", 5)), marking(("end", 97)))


def of(*connections: CapturedConnection, requests: Sequence[RequestTiming] = REQUESTS) -> tuple[Workflow | None, str]:
    return workflow_of(connections, CAPTURE, requests)


def test_the_wait_at_the_barrier_is_no_work() -> None:
    """15 before the first request, 40 at the barrier, 30 to the last answer, 7 after it."""
    wanted = Workflow(before_ns=15, after_ns=7, total_ns=52)
    assert of(MARKS[0], *ASKED, MARKS[1]) == (wanted, "")


def test_a_request_that_was_not_waited_for_ends_nothing() -> None:
    """Its end is when the agent left, which the tap may see later than the mark after it."""
    left = RequestTiming(sent_ns=92, done_ns=120, arrivals_ns=(), eval_count=0, done_reason="cancelled")
    workflow, fault = of(*MARKS, *ASKED, requests=(*REQUESTS, left))
    assert workflow is not None
    assert (workflow.after_ns, fault) == (5, "")


def test_without_marks() -> None:
    """Nothing is wrong."""
    assert of(*ASKED) == (None, "")


@pytest.mark.parametrize(
    ("marks", "fault"),
    [
        ([("begin", 5)], "it sent its mark `end` never"),
        ([("end", 97)], "it sent its mark `begin` never"),
        ([("begin", 5), ("begin", 6), ("end", 97)], "it sent its mark `begin` 2 times"),
        ([("begin", 5), ("end", 95), ("end", 96), ("end", 97)], "it sent its mark `end` 3 times"),
        ([("begin", 21), ("end", 97)], "it sent its mark `begin` after its first request"),
        ([("begin", 5), ("end", 89)], "it sent its mark `end` before the end of its last answer"),
        ([("end", 1), ("begin", 2)], "it sent its mark `end` before the end of its last answer"),
    ],
)
def test_marks_that_do_not_bound_the_work(marks: list[tuple[str, int]], fault: str) -> None:
    """None of the marks is used, not even the correct one."""
    assert of(*ASKED, marking(*marks)) == (None, fault)


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with contextlib.closing(Tap()) as made:
        yield made


def test_marks_of_a_running_agent(tap: Tap) -> None:
    """They are in no count; the work between them is what the agent did, and another agent has its own."""

    async def marked(url: str, *, ends: int = 1) -> None:
        body = {"model": "simulated:scripted", "prompt": "p", "options": {"num_predict": 3}}
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            assert (await client.post("/llmperf/begin")).status_code == 204
            await asyncio.sleep(0.02)
            await client.post("/api/generate", json=body)
            await asyncio.sleep(0.01)
            for _ in range(ends):
                assert (await client.post("/llmperf/end")).status_code == 204

    async def forgetful(url: str) -> None:
        await marked(url, ends=0)

    script = Script(ttft_ms=1, prefill_tok_s=100_000, decode_tok_s=5_000, load_ms=0)
    with choose(Settings(backend="simulated", script=script)).open(TopologyKind.DUAL, 2) as opened:
        scenario = scenario_of([marked, forgetful], name="team")
        rounds = Rounds(scenario, opened.topology, runtime=runtime_of("threads"), timeout_s=30, tap=tap)
        result = rounds.run(0)
    for part in (result.solo, result.together):
        first, second = part
        assert first.workflow is not None
        assert first.workflow.before_ns > 19_000_000
        assert first.workflow.after_ns > 9_000_000
        outside_ns = first.workflow.before_ns + first.workflow.after_ns
        assert first.workflow.total_ns >= outside_ns + first.requests[0].done_ns - first.requests[0].sent_ns
        assert (second.workflow, second.marks_fault) == (None, "it sent its mark `end` never")
        for run in part:
            assert len(run.requests) == 1
            assert (run.untimed, first.marks_fault) == ((), "")
