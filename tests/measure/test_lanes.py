"""Clients of agents that have several requests under way at once."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.measure.lanes import clients_of, idle_ns, lanes_of, work_of
from pytest_llmperf.measure.runtimes import Runtime, runtime_of
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.model import RUNTIMES, Step
from tests.measure.scripted import request_to, serving

ANSWER = b"HTTP/1.1 200 OK\r\n\r\nhello"


def waits(*positions: int, agent: int = 0) -> Step:
    return Step(waits_for=tuple((agent, position) for position in positions))


FORK = (Step(), waits(0), waits(0), waits(1, 2), waits(3))
"""One request, two at once, one that waits for both, and one after it."""


def test_an_agent_that_asks_in_turn_has_a_lane() -> None:
    chain = (Step(), waits(0), waits(1))
    (lane,) = lanes_of([chain], [True])
    assert lane.positions == (0, 1, 2)
    assert [step.waits_for for step in lane.steps] == [(), (), ()]
    ours = (Step(think_ns=5), Step(think_ns=7))
    (lane,) = lanes_of([ours], [False])
    assert (lane.positions, lane.steps) == ((0, 1), ours)


def test_requests_that_were_under_way_at_once_are_in_lanes_of_their_own() -> None:
    """What a lane's requests wait for are places in other lanes; the one before it in its own goes without saying."""
    first, second = lanes_of([FORK], [True])
    assert (first.positions, second.positions) == ((0, 1, 3, 4), (2,))
    assert [step.waits_for for step in first.steps] == [(), (), ((1, 0),), ()]
    assert [step.waits_for for step in second.steps] == [((0, 0),)]


def test_agents_wait_for_each_others_requests_in_their_lanes() -> None:
    planner, worker = (Step(), Step(waits_for=((0, 0), (1, 0)))), (waits(0),)
    first, second = lanes_of([planner, worker], [True, True])
    assert [lane.agent for lane in (first, second)] == [0, 1]
    assert second.steps[0].waits_for == ((0, 0),)
    assert first.steps[1].waits_for == ((1, 0),)


@settings(max_examples=80)
@given(st.lists(st.sets(st.integers(0, 8), max_size=3), min_size=1, max_size=9))
def test_lanes_keep_exactly_the_order_that_was_asked_for(after: list[set[int]]) -> None:
    """A request waits, directly or not, for those that its step names and those they name; for no other."""
    steps = [waits(*(place for place in places if place < position)) for position, places in enumerate(after)]
    asked: list[set[int]] = []
    for step in steps:
        places = {position for _, position in step.waits_for}
        asked.append(places.union(*(asked[place] for place in places)))
    lanes = lanes_of([steps], [True])
    assert sorted(position for lane in lanes for position in lane.positions) == list(range(len(steps)))
    kept: dict[int, set[int]] = {}
    for position in range(len(steps)):
        (lane,) = [lane for lane in lanes if position in lane.positions]
        at = lane.positions.index(position)
        direct = {lanes[number].positions[index] for number, index in lane.steps[at].waits_for}
        direct |= {lane.positions[at - 1]} if at else set()
        kept[position] = direct.union(*(kept[place] for place in direct))
    assert [kept[position] for position in range(len(steps))] == asked


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    made = runtime_of(request.param)
    yield made
    made.close()


def test_every_runtime_sends_them_in_that_order(runtime: Runtime) -> None:
    """Alone in time where they wait; and an agent's exchanges come back in the order of its requests."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        requests = [request_to(url, f"r{position}") for position in range(len(FORK))]
        lanes = lanes_of([FORK], [True])
        part = runtime.run(clients_of(lanes, [requests]), timeout_s=30)
    (work,) = work_of(1, lanes, part)
    assert [exchange.label for exchange in work.exchanges] == ["r0", "r1", "r2", "r3", "r4"]
    root, left, right, join, last = work.exchanges
    assert min(left.sent_ns, right.sent_ns) > root.ended_ns
    assert join.sent_ns > max(left.ended_ns, right.ended_ns)
    assert last.sent_ns > join.ended_ns
    assert work.client_ns > 0
    assert work.lag_ns >= 0


def test_idle_time_is_that_without_a_request() -> None:
    def exchange(sent_ns: int, ended_ns: int) -> Exchange:
        return Exchange(sent_ns=sent_ns, pieces=(), source="kernel", label="", ended_ns=ended_ns)

    assert idle_ns(100, [exchange(110, 150), exchange(120, 130), exchange(160, 170)]) == 20
    assert idle_ns(100, [exchange(105, 110), exchange(107, 140), exchange(130, 170)]) == 5
