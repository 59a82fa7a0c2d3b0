"""The times of clients in a graph, from scripted moments."""

from pytest_llmperf.measure.client_times import client_times
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.model import LAST, Step


def exchange(connect: int, connected: int, sent: int, ended: int) -> Exchange:
    return Exchange(
        sent_ns=sent, pieces=(), source="read", label="", connect_ns=connect, connected_ns=connected, ended_ns=ended
    )


def test_at_the_barrier_a_client_has_connected_before() -> None:
    """All from the barrier to the first send is its own; between requests, all but what connecting takes."""
    own = [exchange(80, 90, 105, 200), exchange(207, 230, 234, 300)]
    assert client_times(100, [(Step(), Step())], [own]) == [(5 + 7 + 4, 0)]


def test_what_a_scenario_has_it_wait_is_no_time_of_the_client() -> None:
    """Tools, thoughts and other agents; what comes later than that is the client's."""
    first = [exchange(80, 90, 100, 200)]
    second = [exchange(263, 265, 266, 400), exchange(450, 455, 460, 500)]
    steps = [(Step(tool_ns=50),), (Step(waits_for=((0, 0),), think_ns=10, tool_ns=30), Step(think_ns=15))]
    assert client_times(100, steps, [first, second]) == [(0, 0), (3 + 1 + 5 + 5, 160 + 45)]


def test_a_thought_before_the_barrier_s_request() -> None:
    """It connects after it."""
    assert client_times(100, [(Step(think_ns=40),)], [[exchange(142, 150, 151, 200)]]) == [(2 + 1, 40)]


def test_an_external_agent_is_known_from_its_first_request_on() -> None:
    """It ends with the last; how it spends its time is its own affair."""
    team = [exchange(0, 0, 110, 200), exchange(0, 0, 250, 300)]
    later = [exchange(340, 345, 350, 400), exchange(0, 0, 420, 500)]
    steps = [(Step(),), (Step(waits_for=((0, LAST),)),)]
    assert client_times(100, steps, [team, later]) == [(10, 0), (40 + 5, 200)]
