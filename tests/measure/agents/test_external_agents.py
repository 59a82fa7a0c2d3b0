"""Agents that we did not write, run in rounds: callables and commands, what is timed, and every way they can fail."""

import asyncio
import contextlib
import gc
import json
import os
import re
import signal
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.measure.agents import external_agents
from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.external_agents import TapResult, run_tapped
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.measure.runtimes import runtime_of
from pytest_llmperf.measure.tap.http_exchanges import CANCELLED
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.model import (
    Agent,
    ExternalAgent,
    GenerationOptions,
    Loop,
    RecordedAgent,
    Scenario,
    Script,
    Settings,
    Topology,
    TopologyKind,
    Untimed,
    scenario_of,
)
from pytest_llmperf.model.workload.recorded_agent import RecordedStep, recorded_agents
from pytest_llmperf.recordings.recorded_requests import RecordedRequest, Recording
from pytest_llmperf.servers.backends import choose
from tests.measure.scripted import serving

TOKENS = 12

PROGRAM = f"""
import json, os, sys, urllib.request
body = {{"model": os.environ["LLMPERF_MODEL"], "prompt": "p", "options": {{"num_predict": {TOKENS}}}}}
request = urllib.request.Request(sys.argv[1] + "/api/generate", json.dumps(body).encode())
urllib.request.urlopen(request).read()
"""


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with contextlib.closing(Tap()) as made:
        yield made


@pytest.fixture(scope="module")
def dual() -> Iterator[Topology]:
    """Two simulated servers with one slot each."""
    script = Script(ttft_ms=20, prefill_tok_s=20_000, decode_tok_s=400, load_ms=1)
    with choose(Settings(backend="simulated", script=script)).open(TopologyKind.DUAL, 2) as opened:
        yield opened.topology


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    """An agent in a file, which is given its address as an argument."""
    path = tmp_path / "critic.py"
    path.write_text(PROGRAM)
    return [sys.executable, str(path), "{url}"]


def rounds_of(agents: list, topology: Topology, tap: Tap, *, timeout_s: float = 30.0) -> Rounds:
    scenario = scenario_of(agents, name="team")
    return Rounds(scenario, topology, runtime=runtime_of("threads"), timeout_s=timeout_s, tap=tap)


def asking(model: str, *, times: int = 1, at_once: int = 1, **options: int):
    """An agent that sends `times` requests one after the other on one connection, or several at once."""

    async def writer(url: str) -> None:
        body = {"model": model, "prompt": "p", "options": {"num_predict": TOKENS, **options}}
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            await client.get("/api/tags")
            for _ in range(times):
                answers = await asyncio.gather(*(client.post("/api/generate", json=body) for _ in range(at_once)))
                assert all(answer.status_code == 200 for answer in answers)

    return writer


def test_a_round_of_a_function_and_a_command(dual: Topology, tap: Tap, program: list[str]) -> None:
    """Each alone and both together, from one barrier; each request has the server's counts and the kernel's times."""
    rounds = rounds_of([asking(dual.model, times=2), program], dual, tap)
    assert [answer.eval_count for answer in rounds.warm_up(1)] == [TOKENS] * 3
    result = rounds.run(1)
    assert result.order == ("critic", "together", "writer")
    assert [run.agent for run in result.together] == [run.agent for run in result.solo] == ["writer", "critic"]
    assert [run.instance for run in result.together] == ["a", "b"]
    assert len({run.start_ns for run in result.together}) == 1
    assert not result.work_mismatch
    for run in (*result.solo, *result.together):
        assert [request.eval_count for request in run.requests] == [TOKENS] * (2 if run.agent == "writer" else 1)
        moments = [run.start_ns]
        for request in run.requests:
            assert len(request.arrivals_ns) == TOKENS
            moments += [request.sent_ns, *request.arrivals_ns, request.done_ns]
        assert moments == sorted(moments)
        assert run.duration_ns == run.requests[-1].done_ns - run.start_ns
        assert 0 < run.client_ns < run.duration_ns
        assert run.lag_ns >= 0
    assert result.timing_source == ("kernel" if sys.platform == "linux" else "read")
    assert result.client_cpu_ns[0] > 0


def test_start_up_is_not_timed(dual: Topology, tap: Tap, program: list[str]) -> None:
    """An agent that takes its time before its first request is measured from that request on; the other one waits."""
    ready_ns: list[int] = []

    async def late(url: str) -> None:
        await asyncio.sleep(0.2)
        ready_ns.append(time.monotonic_ns())
        await asking(dual.model)(url)

    result = rounds_of([late, program], dual, tap).run(0)
    late_alone, together = result.solo[0], result.together
    assert ready_ns[0] <= late_alone.start_ns
    assert ready_ns[-1] <= together[0].start_ns == together[1].start_ns


def test_requests_at_once_end_with_the_last_answer(dual: Topology, tap: Tap) -> None:
    """Three at once on a server with one slot: in the order sent, and the agent is done when all are."""
    (run,) = rounds_of([asking(dual.model, at_once=3)], dual, tap).run(0).together
    assert len(run.requests) == 3
    assert [request.sent_ns for request in run.requests] == sorted(request.sent_ns for request in run.requests)
    assert run.duration_ns == max(request.done_ns for request in run.requests) - run.start_ns


def test_own_agents_may_be_mixed_in(dual: Topology, tap: Tap) -> None:
    """They go through the tap as well, with prefixes and options of their own, and start at the same moment."""
    own = Agent(name="own", prompts=("one", "two"), options=GenerationOptions(num_predict=TOKENS, seed=1))
    rounds = rounds_of([own, asking(dual.model)], dual, tap)
    assert len(rounds.warm_up(2)) == 6  # where some agent is not ours, all do all their work
    result = rounds.run(0)
    first, second = result.together
    assert first.start_ns == second.start_ns
    assert [len(run.requests) for run in result.together] == [2, 1]
    between_ns = first.requests[1].sent_ns - first.requests[0].done_ns
    assert 0 < first.client_ns < first.requests[0].sent_ns - first.start_ns + between_ns


def test_a_graph_through_the_tap(dual: Topology, tap: Tap, program: list[str]) -> None:
    """A command starts when those before it have ended; the barrier waits for the roots; alone nobody waits."""
    options = GenerationOptions(num_predict=TOKENS)
    agents = (
        Agent(name="summary", prompts=("x",), options=options, after=("critic",), think_s=0.01),
        ExternalAgent(name="critic", run=tuple(program), after=("writer",)),
        Agent(name="planner", prompts=("x", "y"), options=options, tool_s=0.02),
        Agent(
            name="writer", prompts=("x",), options=options, after=("planner",), loop=Loop(back_to="planner", times=2)
        ),
    )
    single = replace(dual, kind=TopologyKind.SINGLE, instances=dual.instances[:1])
    rounds = Rounds(Scenario(name="team", agents=agents), single, runtime=runtime_of("threads"), timeout_s=30, tap=tap)
    result = rounds.run(0)
    summary, critic, planner, writer = (run.requests for run in result.together)
    assert [len(own) for own in (summary, critic, planner, writer)] == [1, 1, 4, 2]
    order = [*planner[:2], writer[0], *planner[2:], writer[1], *critic, *summary]
    moments = [moment for request in order for moment in (request.sent_ns, request.done_ns)]
    assert moments == sorted(moments)
    assert planner[1].sent_ns - planner[0].done_ns >= 20_000_000
    for run in (*result.together, *result.solo):
        assert run.own_ns == run.duration_ns - run.paused_ns > 0
        assert run.client_ns >= 0
    start_ns = result.together[0].start_ns
    assert result.together[0].paused_ns > critic[0].done_ns - start_ns
    assert result.together[1].paused_ns > planner[3].done_ns - start_ns
    assert [run.paused_ns >= 40_000_000 for run in result.solo] == [False, False, True, False]


def test_waiting_for_other_agents_is_no_start_up(dual: Topology, tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else those that it waits for would be started after it, and later in each round."""
    told: list[dict[str, int]] = []

    def spied(members: list[Member], **more: object) -> TapResult:
        told.append({member.name: member.start_up_ns for member in members})
        return run_tapped(members, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(external_agents, "run_tapped", spied)
    options = GenerationOptions(num_predict=TOKENS)
    agents = (
        Agent(name="planner", prompts=("x",), options=options, tool_s=(0.1,)),
        Agent(name="writer", prompts=("x",), options=options, after=("planner",)),
        ExternalAgent(name="critic", run=asking(dual.model)),
    )
    single = replace(dual, kind=TopologyKind.SINGLE, instances=dual.instances[:1])
    rounds = Rounds(Scenario(name="team", agents=agents), single, runtime=runtime_of("threads"), timeout_s=30, tap=tap)
    rounds.warm_up(2)
    first, second = told
    assert set(first.values()) == {0}
    assert second["agent writer"] == 0
    assert second["agent planner"] > 0
    assert second["agent critic"] > 0


def test_who_pauses_at_the_barrier_cannot_be_beside_external_agents(dual: Topology, tap: Tap) -> None:
    """The barrier is the first request of each."""
    dreamer = Agent(name="dreamer", prompts=("x", "y"), think_s=1)
    with pytest.raises(UsageError, match="agent dreamer pauses before its first request") as caught:
        rounds_of([dreamer, asking(dual.model)], dual, tap)
    assert "let its think_s begin with 0" in caught.value.next_step
    rounds_of([replace(dreamer, think_s=(0, 1)), asking(dual.model)], dual, tap)
    alone = Scenario(name="x", agents=(dreamer,))
    make = partial(Rounds, alone, dual, runtime=runtime_of("threads"), timeout_s=30, tap=tap)
    make()  # its own connections
    with pytest.raises(UsageError, match="agent dreamer pauses before its first request"):
        make(record=lambda *_: None)
    steps = (RecordedStep(id=1, pause_ms=5.0),)
    recorded = RecordedAgent(name="dreamer", recording="1", work="2", steps=steps)
    with pytest.raises(UsageError, match="agent dreamer pauses before its first request") as caught:
        rounds_of([recorded, asking(dual.model)], dual, tap)
    assert "max_pause_s=0" in caught.value.next_step  # it has no think_s


def test_the_tap_and_our_own_clients_agree(dual: Topology, tap: Tap) -> None:
    """The same scripted load, in turn: the same counts, and no time is shorter than the script's."""
    own = Agent(name="own", prompts=("p",), options=GenerationOptions(num_predict=TOKENS))
    direct = Rounds(Scenario(name="x", agents=(own,)), dual, runtime=runtime_of("threads"), timeout_s=30)
    tapped = rounds_of([asking(dual.model)], dual, tap)
    ours, theirs = direct.run(0).together[0].requests[0], tapped.run(0).together[0].requests[0]
    assert (ours.eval_count, len(ours.arrivals_ns)) == (theirs.eval_count, len(theirs.arrivals_ns))
    for request in (ours, theirs):  # 20 ms to the first token, then 11 gaps of 2.5 ms
        assert request.arrivals_ns[0] - request.sent_ns > 15_000_000
        assert request.arrivals_ns[-1] - request.sent_ns > 40_000_000


def test_leaving_in_mid_stream_frees_the_slot(dual: Topology, tap: Tap) -> None:
    """An agent that leaves a long answer and asks anew is served at once: the server saw it leave."""

    async def fickle(url: str) -> None:
        options = {"num_ctx": 131_072, "num_predict": 120_000}  # takes five minutes
        body = {"model": dual.model, "prompt": "p", "options": options}
        async with (
            httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client,
            client.stream("POST", "/api/generate", json=body) as answer,
        ):
            async for line in answer.aiter_lines():
                if json.loads(line)["response"]:
                    break
        await asking(dual.model, num_ctx=131_072)(url)

    (run,) = rounds_of([fickle], dual, tap, timeout_s=240).run(0).together
    left, served = run.requests
    assert (left.done_reason, left.eval_count) == (CANCELLED, 0)
    assert left.arrivals_ns
    assert left.done_ns >= left.arrivals_ns[-1]
    assert (served.done_reason, served.eval_count) == ("length", TOKENS)


def test_what_a_client_gave_up_while_it_was_held_does_not_count(dual: Topology, tap: Tap) -> None:
    """It times out twice and asks again: what it asked last is its only request, and no time is negative."""
    gave_up: list[str] = []

    async def impatient(url: str) -> None:
        body = {"model": dual.model, "prompt": "p", "options": {"num_predict": TOKENS}}
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            for timeout_s in (0.05, 0.05, 30):
                try:
                    await client.post("/api/generate", json=body, timeout=timeout_s)
                except httpx.TimeoutException:
                    gave_up.append(url)

    async def late(url: str) -> None:
        while len(gave_up) < 2:  # noqa: ASYNC110 - the other agent's affair
            await asyncio.sleep(0.005)
        await asking(dual.model)(url)

    members = [member(instance.url, run) for instance, run in zip(dual.instances, (impatient, late), strict=True)]
    part = run_tapped(members, tap=tap, model=dual.model, timeout_s=30)
    assert len(gave_up) == 2
    for heard in part.recordings:
        (request,) = heard.requests
        assert request.eval_count == TOKENS
        assert part.start_ns <= request.sent_ns <= request.arrivals_ns[0] <= request.done_ns
    abandoned = Untimed(request="POST /api/generate", reason="abandoned", count=2)
    assert [recording.untimed for recording in part.recordings] == [(abandoned,), ()]


def test_loading_is_no_work(dual: Topology, tap: Tap) -> None:
    """A request without a prompt only loads the model; it passes and is not timed."""

    async def careful(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            await client.post("/api/generate", json={"model": dual.model})
        await asking(dual.model)(url)

    (run,) = rounds_of([careful], dual, tap).run(0).together
    assert len(run.requests) == 1


def test_a_recorded_request_that_only_loads_is_an_error(dual: Topology, tap: Tap) -> None:
    """Beside external agents: others may wait for it, by its place among the requests that are timed."""
    bodies = ({"model": "m", "prompt": "p", "options": {"num_predict": TOKENS}}, {"model": "m"})
    loads = [
        RecordedRequest(id=1, agent="planner", path="/api/generate", body=bodies[0]),
        RecordedRequest(id=2, agent="planner", path="/api/generate", body=bodies[1], after=(1,)),
        RecordedRequest(id=3, agent="critic", path="/api/generate", body=bodies[0], after=(2,)),
    ]
    agents = recorded_agents(Recording(agents=("planner", "critic"), requests=tuple(loads), model="m"))
    writer = ExternalAgent(name="writer", run=asking(dual.model))
    single = replace(dual, kind=TopologyKind.SINGLE, instances=dual.instances[:1])
    scenario = Scenario(name="team", agents=(*agents, writer))
    rounds = Rounds(scenario, single, runtime=runtime_of("threads"), timeout_s=30, tap=tap)
    wanted = r"agent planner.*: 1 of 2 requests could be timed; POST /api/generate: nothing was asked but to load"
    with pytest.raises(MeasurementError, match=wanted) as caught:
        rounds.run(0)
    assert "recording" in caught.value.next_step


def test_requests_to_other_paths_are_named_and_in_no_figure(dual: Topology, tap: Tap) -> None:
    """Control requests are not; whatever the server answers, the agent's own requests are timed."""

    async def writer(url: str) -> None:
        await asking(dual.model)(url)
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            for _ in range(2):
                await client.post("/v1/rerank?key=secret", json={"query": "x"})
            await client.get("/v1/models")
            await client.post("/api/generate", json={"model": dual.model})

    (run,) = rounds_of([writer], dual, tap).run(0).together
    assert [request.endpoint for request in run.requests] == ["/api/generate"]
    assert {(untimed.request, untimed.reason, untimed.count) for untimed in run.untimed} == {
        ("POST /v1/rerank", "unknown", 2),
        ("POST /api/generate", "load", 1),
    }


def test_it_works_inside_a_running_event_loop(dual: Topology, tap: Tap) -> None:
    """An async test may measure, too; a failure comes through as well."""

    async def broken(url: str) -> None:
        raise ValueError("oops")

    async def main() -> None:
        assert rounds_of([asking(dual.model)], dual, tap).run(0).together
        with pytest.raises(MeasurementError, match="oops"):
            rounds_of([broken], dual, tap).run(0)

    asyncio.run(main())


# --- what can go wrong -----------------------------------------------------------------------------------------------


def member(url: str, run: object, name: str = "x") -> Member:
    return Member(label=f"agent {name}", url=url, run=run)


def failing(tap: Tap, *members: Member, timeout_s: float = 30.0) -> MeasurementError:
    with pytest.raises(MeasurementError) as caught:
        run_tapped(members, tap=tap, model="m", timeout_s=timeout_s)
    assert caught.value.next_step
    return caught.value


def descendants() -> list[psutil.Process]:
    """Living processes below this one, the servers and the tap apart."""
    processes = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and "pytest_llmperf" not in words:
                processes.append(process)
    return processes


async def patient(url: str) -> None:
    """Sends its first request and waits for ever."""
    async with httpx.AsyncClient(base_url=url, timeout=None, trust_env=False) as client:
        await client.post("/api/generate", json={"model": "m", "prompt": "p"})


SLEEPER = (sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '1000'])")


def test_a_callable_that_raises(dual: Topology, tap: Tap) -> None:
    """The error names the agent, the exception and its place; all processes of the other agent are ended."""

    async def broken(url: str) -> None:
        await asyncio.sleep(0.3)
        raise ValueError("no more words")

    url = dual.instances[0].url
    error = failing(tap, member(url, SLEEPER, "sleeper"), member(url, broken, "broken"))
    line = broken.__code__.co_firstlineno + 2
    assert str(error).startswith(
        f"agent broken: the agent raised ValueError: no more words ({Path(__file__)}, line {line})\n  next: "
    )
    assert descendants() == []


def test_a_callable_that_is_not_async(dual: Topology, tap: Tap) -> None:
    """A lambda that gives nothing to wait for."""
    error = failing(tap, member(dual.instances[0].url, lambda _: 7))
    assert "TypeError: it returned int, wanted an awaitable" in str(error)


@pytest.mark.parametrize(
    ("code", "how"), [("import sys; sys.exit(3)", "exit code 3"), ("import os; os.kill(os.getpid(), 9)", "signal 9")]
)
def test_a_command_that_fails(dual: Topology, tap: Tap, code: str, how: str) -> None:
    """Exit code or signal, and the tail of what it printed."""
    lines = "; ".join(["for i in range(30): print('line', i, flush=True)"])
    script = f"{lines}\n{code}"
    error = failing(tap, member(dual.instances[0].url, (sys.executable, "-c", script), "critic"))
    assert f"agent critic: the command {sys.executable!r} ended with {how}\n  | line 18\n" in str(error)
    assert "  | line 29\n  next: run it by hand" in str(error)


def test_a_command_that_does_not_exist(dual: Topology, tap: Tap) -> None:
    """Named with the agent."""
    error = failing(tap, member(dual.instances[0].url, ("/no/such/program",)))
    assert "agent x: '/no/such/program' cannot be started" in str(error)


def test_two_agents_that_fail_at_once(dual: Topology, tap: Tap, caplog: pytest.LogCaptureFixture) -> None:
    """One is the error; that of the other is not left for the garbage collection, which may come in an import."""
    nobody = [member(dual.instances[0].url, ("/no/such/program",), name) for name in ("one", "two")]
    assert re.match("agent (one|two): '/no/such/program' cannot be started", str(failing(tap, *nobody)))
    gc.collect()
    assert caplog.messages == []


def test_an_agent_that_asks_no_model(dual: Topology, tap: Tap, program: list[str]) -> None:
    """It went elsewhere, or only looked around: the other agent would wait for it for ever, so all are given up."""

    async def looks(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            await client.get("/api/tags")

    url = dual.instances[0].url
    assert "agent x: the agent ended without a generation request through its address (only GET /api/tags)" in str(
        failing(tap, member(url, looks))
    )
    silent = (sys.executable, "-c", "print('I talk to nobody')")
    error = failing(tap, member(url, patient, "patient"), member(url, silent, "silent"))
    assert "agent silent: the agent ended without a generation request" in str(error)
    assert "\n  | I talk to nobody\n  next: make it use the address" in str(error)


def test_the_time_is_limited(dual: Topology, tap: Tap) -> None:
    """For an agent that sends no request, and for one that never ends; the error has its output; nothing is left."""
    url = dual.instances[0].url
    talker = (sys.executable, "-c", "import time; print('thinking', flush=True); time.sleep(1000)")
    error = failing(tap, member(url, talker, "talker"), timeout_s=1.5)
    assert "agent talker: the agent did not end within 1.5 s (not every agent had sent its first request)" in str(error)
    assert "  | thinking\n  next: " in str(error)

    async def endless(url: str) -> None:
        while True:
            await asking(dual.model)(url)

    error = failing(tap, member(url, endless, "endless"), timeout_s=1.5)
    assert "agent endless: the agent did not end within 1.5 s" in str(error)
    assert descendants() == []


def answering(answer: bytes, *, reset: bool = False) -> Callable[[socket.socket], None]:
    """A handler that says this to each connection and closes, or resets, it."""

    def handler(sock: socket.socket) -> None:
        sock.sendall(answer)
        if reset:
            time.sleep(0.1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    return handler


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = {
    "404": (b"HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\n" + b'{"error":"no"}', False, "answered 404: no"),
    "503": (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy", False, "answered 503: busy"),
    "an error line": (HEAD + b'15\r\n{"error":"no memory"}\r\n0\r\n\r\n', False, "no memory"),
    "died": (HEAD + b'22\r\n{"response":"on', False, "torn"),
    "reset": (HEAD + b'22\r\n{"response":"on', True, "torn"),
    "nothing": (b"", False, "torn"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("tolerant", [True, False], ids=["tolerant", "strict"])
def test_a_server_that_fails_is_the_error(tap: Tap, case: str, tolerant: bool) -> None:
    """Whether its agent bears it or raises: the server's failure is named, with the agent and the bytes."""
    answer, reset, problem = BROKEN[case]

    async def agent(url: str) -> None:
        try:
            async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                (await client.post("/api/generate", content=b"{}")).raise_for_status()
        except httpx.HTTPError:
            if not tolerant:
                raise

    with serving(answering(answer, reset=reset)) as url:
        error = failing(tap, member(url, agent, "writer"))
    assert str(error).startswith("agent writer: ")
    assert problem in str(error)
    assert error.received == answer


def test_an_agent_out_of_a_record_cannot_run(dual: Topology, tap: Tap) -> None:
    """A stored record has only the name of a callable."""
    with pytest.raises(UsageError, match=r"comes from a stored record.*tests\.writer"):
        rounds_of([ExternalAgent(name="x", run="tests.writer")], dual, tap).run(0)


@pytest.mark.alone
@pytest.mark.parametrize("inside", [False, True], ids=["plain", "inside a loop"])
def test_ctrl_c_leaves_nothing(dual: Topology, inside: bool) -> None:
    """The interrupt comes through at once; commands, their children, the tap and our thread are gone."""
    url = dual.instances[0].url
    with contextlib.closing(Tap()) as tap:
        members = [member(url, SLEEPER, "s"), member(url, patient, "p")]
        work = partial(run_tapped, members, tap=tap, model="m", timeout_s=3600)

        async def main() -> None:
            work()

        timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main()) if inside else work()
        timer.join()
        assert tap._process is None
    assert descendants() == []
    assert not [thread for thread in threading.enumerate() if thread.name == "llmperf-agents"]


def test_a_command_may_use_any_of_its_addresses(dual: Topology, tap: Tap) -> None:
    """An argument or the environment: all name the tap, as an Ollama client, an OpenAI client or anything wants it."""
    code = """
    import os, sys, urllib.request
    url = sys.argv[1].removeprefix("--url=")
    assert os.environ["OLLAMA_HOST"] == os.environ["LLMPERF_BASE_URL"] == url
    assert os.environ["OPENAI_BASE_URL"] == url + "/v1"
    assert os.environ["LLMPERF_MODEL"] == "m"
    body = b'{"model": "%s", "prompt": "p", "options": {"num_predict": 2}}'
    urllib.request.urlopen(urllib.request.Request(url + "/api/generate", body)).read()
    """
    code = textwrap.dedent(code.replace("%s", dual.model))
    part = run_tapped(
        [member(dual.instances[0].url, (sys.executable, "-c", code, "--url={url}"))], tap=tap, model="m", timeout_s=30
    )
    assert [request.eval_count for request in part.recordings[0].requests] == [2]


def test_answers_of_agents_that_are_not_ours_are_not_compared(tap: Tap, dual: Topology) -> None:
    """Their prompts are theirs: an error that says so."""
    scenario = scenario_of([["true"], ["false"]], name="strangers")
    rounds = Rounds(scenario, dual, runtime=runtime_of("threads"), timeout_s=9, tap=tap)
    with pytest.raises(UsageError, match="only for agents with prompts"):
        rounds.answers(3)
