"""The order of starts, and the error for an agent that gave up at the barrier, with a scripted tap and a set clock."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.agents import external_agents
from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.external_agents import run_tapped
from pytest_llmperf.measure.agents.member_agents import Agents
from pytest_llmperf.measure.agents.start_order import QUICK_NS, Starting, in_order, may_start
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.measure.runtimes import runtime_of
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.recording import Capture, CapturedConnection, Chunk, CpuReading, Stream
from pytest_llmperf.model import Access, ExternalAgent, Instance, Scenario, Topology, TopologyKind

MS = 1_000_000
SECOND_NS = 1_000_000_000


def starting(start_up_s: float, since_s: float, *, arrived: bool = False) -> Starting:
    return Starting(round(start_up_s * SECOND_NS), round(since_s * SECOND_NS), arrived)


@pytest.mark.parametrize(
    ("start_up_s", "started", "starts"),
    [
        (4.0, [], True),  # the slowest is the first
        (0.1, [starting(4.0, 3.95)], False),  # a quick one waits until it is there: nobody knows whether it is late
        (0.1, [starting(4.0, 3.95, arrived=True)], True),
        (0.1, [starting(4.0, 10.1)], True),  # overdue: perhaps it waits for this one
        (0.1, [starting(0.2, 0.0)], True),  # quick ones start at once
        (3.0, [starting(4.0, 0.9)], False),
        (3.0, [starting(4.0, 1.1)], True),  # slow ones are to arrive together
        (3.0, [starting(4.0, 1.1), starting(9.0, 1.1)], False),
        (4.0, [starting(4.0, 0.0)], True),
    ],
)
def test_who_may_start(start_up_s: float, started: list[Starting], starts: bool) -> None:
    """So that the wait at the barrier is short for all."""
    assert may_start(round(start_up_s * SECOND_NS), started) is starts


# --- agents behind a scripted tap ------------------------------------------------------------------------------------


@dataclass
class ScriptedTap:
    """Tells what the test says, and has a part to show at the end."""

    capture: Capture
    here: set[int] = field(default_factory=set)
    opened: bool = True
    events: list[object] = field(default_factory=list)

    def open(
        self, urls, labels, *, accesses: Sequence[Access] = (), barrier: bool = True, awaited: Sequence[int | None] = ()
    ) -> tuple[str, ...]:
        self.events.append(("open", tuple(labels), barrier))
        return tuple(urls)

    def arrived(self) -> frozenset[int]:
        return frozenset(self.here)

    def released(self) -> bool:
        return self.opened

    def take(self) -> Capture:
        return self.capture

    def close(self) -> None:
        self.events.append("close")


def passed(first_ns: int) -> CapturedConnection:
    return CapturedConnection(Stream((Chunk(first_ns, (), b"x", first_ns),), 0), Stream((), 0), first_ns=first_ns)


def given_up(first_ns: int, at_ns: int) -> CapturedConnection:
    return CapturedConnection(Stream((), at_ns), Stream((), 0), first_ns=first_ns, given_up_ns=at_ns)


def part(*agents: tuple[CapturedConnection, ...], start_s: float = 0.0, end_s: float = 9.0) -> Capture:
    return Capture(round(start_s * SECOND_NS), round(end_s * SECOND_NS), 0, 0, agents)


def member(name: str, run, *, start_up_s: float = 0.0) -> Member:
    return Member(
        label=f"agent {name}, instance a (http://h)", url="http://h", run=run, start_up_ns=round(start_up_s * SECOND_NS)
    )


def agents_of(tap: ScriptedTap, *members: Member, clock=lambda: SECOND_NS, timeout_s: float = 30.0) -> Agents:
    return Agents(members, [member_.url for member_ in members], tap=tap, model="m", timeout_s=timeout_s, clock=clock)


def test_the_slow_one_is_started_first_and_the_quick_one_when_it_is_there() -> None:
    """Whatever the order of the scenario."""
    tap, order = ScriptedTap(part((), ())), []

    async def quick(url: str) -> None:
        order.append("quick")
        assert tap.here == {1}

    async def slow(url: str) -> None:
        order.append("slow")
        await asyncio.sleep(0)
        tap.here.add(1)
        while "quick" not in order:  # noqa: ASYNC110 - no event: it is the tap that is asked, turn by turn
            await asyncio.sleep(0)

    _, failure = agents_of(tap, member("q", quick, start_up_s=0.01), member("s", slow, start_up_s=4)).run()
    assert failure is None
    assert order == ["slow", "quick"]


def test_nobody_waits_for_a_slow_agent_that_has_ended() -> None:
    """Without a barrier an agent may end without a request; it is reported by name only when all have ended."""
    tap, order = ScriptedTap(part((), ())), []

    async def quick(url: str) -> None:
        order.append("quick")

    _, failure = agents_of(tap, member("q", quick, start_up_s=0.01), member("s", ends, start_up_s=4)).run()
    assert failure is None
    assert order == ["quick"]


def test_agents_that_were_never_seen_start_at_once() -> None:
    """In the order of the scenario."""
    order = []

    def named(name: str):
        async def run(url: str) -> None:
            order.append(name)

        return member(name, run)

    assert agents_of(ScriptedTap(part((), (), ())), *map(named, "abc")).run()[1] is None
    assert order == ["a", "b", "c"]
    assert [member_.name for member_ in in_order([named("a"), named("b")])] == ["agent a", "agent b"]


async def fails(url: str) -> None:
    raise TimeoutError("read timed out")


async def lasts(url: str) -> None:
    await asyncio.sleep(1000)


async def ends(url: str) -> None:
    pass


async def cancels_itself(url: str) -> None:
    raise asyncio.CancelledError


async def fails_in_a_group(url: str) -> None:
    raise ExceptionGroup(
        "unhandled errors in a TaskGroup", [ValueError("boom"), ExceptionGroup("g", [OSError("gone")])]
    )


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (cancels_itself, ["the agent raised CancelledError"]),
        (fails_in_a_group, ["TaskGroup (2 sub-exceptions); ValueError: boom; ", "; OSError: gone"]),
    ],
)
def test_what_an_agent_raised_is_told(run, words: list[str]) -> None:
    """Also a cancellation of its own, and what failed in a group of tasks."""
    _, failure = agents_of(ScriptedTap(part((passed(SECOND_NS),), ())), member("writer", run)).run()
    assert failure is not None
    assert all(each in str(failure) for each in words)


GAVE_UP = [given_up(1 * SECOND_NS, 6 * SECOND_NS)]


@pytest.mark.parametrize(
    ("ways", "start_s", "says"),
    [
        ([GAVE_UP, []], 0, ["its request", "5.0 s", "agent critic, which had sent no request, 5.0 s after its start"]),
        (
            [[*GAVE_UP, given_up(7 * SECOND_NS, 8 * SECOND_NS)], [passed(8 * SECOND_NS)]],
            8,
            ["2 requests", "5.0 s", "agent critic, which had sent no request, 5.0 s after its start"],
        ),
    ],
    ids=["the barrier is closed", "it opened too late"],
)
def test_who_fails_after_it_gave_up_at_the_barrier_is_told_for_whom_it_waited(ways, start_s: float, says) -> None:
    """And for how long: the agent is not to be run by hand, where it works."""
    tap = ScriptedTap(part(*map(tuple, ways), start_s=start_s))
    _, failure = agents_of(tap, member("writer", fails), member("critic", lasts)).run()
    assert failure is not None
    text = str(failure)
    assert text.startswith("agent writer, instance a (http://h): the agent raised TimeoutError: read timed out")
    assert "at the barrier" in text
    for words in says:
        assert words in text
    assert "run the callable" not in text
    assert "next: give the client of agent writer a timeout well above 5.0 s" in text
    assert isinstance(failure.__cause__, TimeoutError)


def test_who_fails_without_having_waited_is_to_be_run_by_itself() -> None:
    """Its own fault, whatever the others do."""
    tap = ScriptedTap(part((passed(SECOND_NS),), (passed(SECOND_NS),), start_s=2))
    _, failure = agents_of(tap, member("writer", fails), member("critic", lasts)).run()
    assert failure is not None
    assert "barrier" not in str(failure)
    assert "next: run the callable by itself" in str(failure)


def test_who_bears_it_and_ends_is_told_as_well() -> None:
    """An agent whose client gave up, and that asks no more, has ended without a request that counts."""
    for opened in (False, True):  # before the barrier opened, and after
        tap = ScriptedTap(part(tuple(GAVE_UP), (passed(7 * SECOND_NS),), start_s=7), opened=opened)
        with pytest.raises(
            MeasurementError, match=r"(?s)without a generation request.*gave up its request.*agent critic"
        ):
            run_tapped([member("writer", ends), member("critic", ends)], tap=tap, model="m", timeout_s=9)


def test_who_is_late_says_whom_the_others_waited_for() -> None:
    """With the time since its start; of an agent alone there is nobody to name."""
    tap = ScriptedTap(part((passed(SECOND_NS),), ()), opened=False)
    _, failure = agents_of(tap, member("writer", lasts), member("critic", lasts), timeout_s=0.05).run()
    assert "waited for agent critic, which had sent no request, 8.0 s after its start" in str(failure)
    assert "waited for agent writer" not in str(failure)
    alone = agents_of(ScriptedTap(part(()), opened=False), member("critic", lasts), timeout_s=0.05)
    assert "waited for" not in str(alone.run()[1])


def test_who_was_not_started_yet_is_named_so() -> None:
    """A slow agent that never comes holds the others back."""
    tap = ScriptedTap(part((), ()), opened=False)
    _, failure = agents_of(tap, member("writer", lasts), member("critic", lasts, start_up_s=99), timeout_s=0.05).run()
    assert "waited for agent writer, which had sent no request: it was not started yet" in str(failure)


def test_functions_find_no_proxy_on_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run in this process, whose environment is put back."""
    monkeypatch.setenv("NO_PROXY", "a.example")
    monkeypatch.delenv("no_proxy", raising=False)
    seen = {}

    async def looks(url: str) -> None:
        seen.update({name: os.environ[name] for name in ("NO_PROXY", "no_proxy")})

    agents_of(ScriptedTap(part(())), member("x", looks)).run()
    assert set(seen.values()) == {"a.example,127.0.0.1,localhost"}
    assert os.environ["NO_PROXY"] == "a.example"
    assert "no_proxy" not in os.environ


ASKED = b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n{"response":"a","done":true,"eval_count":1}\n'


def test_an_agent_that_ends_long_after_its_last_answer_costs_no_more() -> None:
    """It answers within 100 ms and then flushes for 4 s: the tap's time is counted over the same 100 ms."""
    at = [SECOND_NS + round(offset_s * SECOND_NS) for offset_s in (0, 0.1, 4.1)]
    way = CapturedConnection(
        Stream((Chunk(at[0], (), ASKED, at[0]),), 0), Stream((Chunk(at[1], (), ANSWER, at[1]),), at[1])
    )
    capture = Capture(
        at[0],
        at[2],
        0,
        0,
        ((way,),),
        used=(CpuReading(at[0], 0), CpuReading(at[1], 5 * MS), CpuReading(at[2], 4000 * MS)),
    )
    tapped = run_tapped([member("x", ends)], tap=ScriptedTap(capture), model="m", timeout_s=9)
    assert (tapped.cpu_ns, tapped.lag_ns) == (5 * MS, 0)


# --- rounds ----------------------------------------------------------------------------------------------------------


def test_start_ups_are_learnt_before_the_first_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the warm-up, or else once unmeasured: both without a barrier, so that nobody waits for a slow one."""
    calls: list[tuple[tuple[str, ...], tuple[int, ...], bool]] = []

    def scripted(members, *, barrier: bool = True, **_) -> external_agents.TapResult:
        names = tuple(member_.name.removeprefix("agent ") for member_ in members)
        calls.append((names, tuple(member_.start_up_ns // MS for member_ in members), barrier))
        heard = [
            external_agents.AgentRecording(requests=(), exchanges=(), sent=(), forward_ns=0, start_up_ns=start_up_ns)
            for start_up_ns in (QUICK_NS if name == "a" else 5 * MS for name in names)
        ]
        return external_agents.TapResult(start_ns=0, recordings=tuple(heard), cpu_ns=0, lag_ns=0)

    monkeypatch.setattr(external_agents, "run_tapped", scripted)
    agents = tuple(ExternalAgent(name=name, run=("x",)) for name in "ab")
    instances = tuple(Instance(name=name, url=f"http://{name}") for name in "ab")
    topology = Topology(kind=TopologyKind.DUAL, instances=instances, model="m", backend="attach")

    def rounds() -> Rounds:
        calls.clear()
        scenario = Scenario(name="s", agents=agents)
        return Rounds(scenario, topology, runtime=runtime_of("threads"), timeout_s=9, tap=Tap())

    both, known = ("a", "b"), (QUICK_NS // MS, 5)
    warmed = rounds()
    warmed.warm_up(1)
    warmed.run(2)
    assert calls[:2] == [(both, (0, 0), False), (both, known, True)]
    rounds().run(2)
    assert calls[:2] == [(both, (0, 0), False), (both, known, True)]
    rounds().run(0)  # each alone comes first
    assert calls == [(("a",), (0,), True), (("b",), (0,), True), (both, known, True)]
