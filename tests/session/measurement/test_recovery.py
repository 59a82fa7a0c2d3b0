"""The note on an agent that had to wait for a slot although it ran alone."""

from dataclasses import replace

import pytest

from pytest_llmperf.model import AgentRun, Instance, RequestTiming, Round, Topology, TopologyKind
from pytest_llmperf.session.measurement.recovery import most_at_once, waited_alone

MS = 1_000_000


def request(sent_ms: int, done_ms: int, *, queue_ms: int = 0) -> RequestTiming:
    return RequestTiming(
        sent_ns=sent_ms * MS,
        done_ns=done_ms * MS,
        arrivals_ns=(done_ms * MS,),
        eval_count=1,
        total_duration_ns=(queue_ms + 1) * MS,
        eval_duration_ns=MS,
    )


def said(*requests: RequestTiming, backend: str = "attach", slots: int = 1) -> str:
    run = AgentRun(agent="x", instance="a", start_ns=0, requests=requests)
    instances = (Instance(name="a", url="http://a", slots=slots),)
    topology = Topology(kind=TopologyKind.SINGLE, instances=instances, model="m", backend=backend)
    return waited_alone(Round(index=0, order=(), solo=(run,), together=(run,)), topology)


WAITED = request(0, 400, queue_ms=300)


def test_who_did_not_wait_is_not_mentioned() -> None:
    """Nor who waited for a moment."""
    assert said(request(0, 400)) == said(request(0, 400, queue_ms=90)) == ""


def test_a_found_server_has_other_clients() -> None:
    """One agent alone that waits means another client."""
    assert said(WAITED) == "agent x, alone, waited 300 ms for instance a to begin: another client uses it"


@pytest.mark.parametrize("backend", ["ollama", "embedded"])
def test_a_server_that_only_we_know_has_none(backend: str) -> None:
    """What keeps it waiting is this machine."""
    assert "another client" not in said(WAITED, backend=backend)
    assert "other work on this machine kept it from its cores" in said(WAITED, backend=backend)


@pytest.mark.parametrize(("slots", "explained"), [(0, True), (1, True), (2, True), (3, False)])
def test_an_agent_that_asks_more_at_once_than_there_are_slots_waits_for_itself(slots: int, explained: bool) -> None:
    """Three requests at once: with three slots, somebody else took one."""
    three = [request(0, 400, queue_ms=queue_ms) for queue_ms in (0, 150, 300)]
    assert bool(said(*three, slots=slots)) is not explained
    assert most_at_once(three) == 3


def test_requests_one_after_the_other_are_one_at_once() -> None:
    """Also if the next is sent at the moment when the last is done."""
    assert most_at_once([request(0, 400), request(400, 800)]) == 1
    assert most_at_once([request(0, 400), replace(request(399, 800), done_ns=900 * MS)]) == 2
    assert most_at_once([]) == 0
