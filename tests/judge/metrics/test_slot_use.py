"""How many slots a shared instance has by its answers, and the notes if each agent should have had a slot."""

from dataclasses import replace

import pytest

from pytest_llmperf.judge.diagnosis.diagnose import diagnose, facts_of
from pytest_llmperf.judge.metrics.slot_use import CAUSE, fewer_slots, looked_at, seen
from pytest_llmperf.model import (
    Agent,
    AgentRun,
    Instance,
    Manifest,
    Measurement,
    RequestTiming,
    Round,
    Scenario,
    Topology,
    TopologyKind,
)
from pytest_llmperf.servers.backends.ollama_backend import slots_refused

MS = 1_000_000


def request(begun_ms: int, work_ms: int, *, queued: bool = True) -> RequestTiming:
    """Sent at 0, begun at `begun_ms` by the server's durations; one that waited says so if `queued`."""
    done_ms = begun_ms + work_ms
    return RequestTiming(
        sent_ns=0,
        done_ns=done_ms * MS,
        arrivals_ns=((begun_ms + 10) * MS, done_ms * MS),
        eval_count=2,
        prompt_eval_duration_ns=10 * MS,
        eval_duration_ns=(work_ms - 10) * MS,
        total_duration_ns=(done_ms if queued else work_ms) * MS,
    )


TOGETHER = [request(0, 100), request(1, 100)]
IN_TURN = [request(0, 100), request(100, 100)]
WITHOUT_DURATIONS = [
    RequestTiming(sent_ns=0, done_ns=9 * MS, arrivals_ns=(MS, 9 * MS), eval_count=2),
    RequestTiming(sent_ns=0, done_ns=18 * MS, arrivals_ns=(10 * MS, 18 * MS), eval_count=2),
]


@pytest.mark.parametrize(
    ("parts", "wanted", "count"),
    [
        ([TOGETHER], 2, 2),
        ([IN_TURN], 2, 1),
        ([IN_TURN, TOGETHER], 2, 2),  # what was seen once is there
        ([[request(0, 20), request(20, 300)]], 2, 0),  # the longer one hardly waited: it may have come late
        ([[request(0, 300), request(300, 20)]], 2, 1),
        ([[request(0, 100), request(100, 100, queued=False)]], 2, 0),  # it was sent late: nothing says that it waited
        ([[request(0, 100), request(2, 100), request(100, 100)]], 3, 2),
        ([[request(0, 100), request(2, 20), request(22, 50)]], 3, 2),
        ([WITHOUT_DURATIONS], 2, 0),
        ([], 2, 0),
    ],
)
def test_slots_that_were_seen(parts, wanted, count) -> None:
    """The number of requests processed at once; unknown if no request visibly waited for another."""
    assert seen(parts, wanted) == count


def measurement(requests, *, kind=TopologyKind.SINGLE_PARALLEL, backend="ollama", slots=2, agents="xy") -> Measurement:
    """One round of these requests together, each alone first."""

    def run(index: int, request: RequestTiming, start_ms: int) -> AgentRun:
        return AgentRun(agent=agents[index], instance="a", start_ns=start_ms * MS, requests=(request,))

    alone = tuple(run(index, request(0, 100), 0) for index in range(len(requests)))
    together = tuple(run(index, request, 0) for index, request in enumerate(requests))
    round_ = Round(
        index=0, order=("together", *agents), solo=alone, together=together, timing_source="kernel", client_cpu_ns=0
    )
    return Measurement(
        scenario=Scenario(name="s", agents=tuple(Agent(name=name, prompts=("p",)) for name in agents)),
        topology=Topology(
            kind=kind, instances=(Instance(name="a", url="http://h", slots=slots),), model="m", backend=backend
        ),
        rounds=(round_,) * 3,
        warmups=1,
        started_at="",
        manifest=Manifest(facts={"server_settings": "num_ctx=512; slots=2"}),
    )


def test_what_was_asked_and_seen_is_in_the_manifest() -> None:
    """And in the instance; a note only where fewer were seen. What is seen later counts, if it is more."""
    usual = looked_at(measurement(TOGETHER), TOGETHER)
    assert usual.manifest.facts["server_settings"] == "num_ctx=512; slots_asked=2; slots_seen=2"
    assert (usual.topology.instances[0].slots_seen, usual.notes) == (2, ())
    fewer = looked_at(measurement(IN_TURN, slots=0), IN_TURN)
    assert fewer.manifest.facts["server_settings"] == "num_ctx=512; slots_asked=2; slots_seen=1"
    assert fewer.notes == ("instance a processes 1 request at a time, but 2 slots were asked for",)
    assert looked_at(fewer, IN_TURN) is fewer
    more = looked_at(fewer, TOGETHER)
    assert (more.topology.instances[0].slots_seen, more.notes) == (2, ())


@pytest.mark.parametrize("kind", [TopologyKind.SINGLE, TopologyKind.DUAL])
def test_where_no_slot_each_was_asked_for(kind) -> None:
    """Nothing is checked and nothing reported: agents that share a slot on purpose wait for each other."""
    queued = measurement(IN_TURN, kind=kind)
    assert looked_at(queued, IN_TURN) is queued
    assert fewer_slots(queued) == []


@pytest.mark.parametrize(
    ("backend", "step"), [("ollama", "an instance for each agent"), ("attach", "OLLAMA_NUM_PARALLEL=2")]
)
def test_the_cause_is_named_with_what_to_do(backend, step) -> None:
    """By the rounds alone, without a warm-up; nobody else is blamed, though it is noted that one waited."""
    diagnosis = diagnose(measurement(IN_TURN, backend=backend))
    assert diagnosis is not None
    assert diagnosis.cause == CAUSE
    assert diagnosis.facts == ("instance a processes 1 request at a time, but 2 slots were asked for",)
    assert step in diagnosis.next_step
    assert diagnose(replace(measurement(TOGETHER), rounds=measurement(TOGETHER).rounds)) is None


def test_the_log_of_a_server_of_ours_tells() -> None:
    """Only the log of Ollama says so: one note per architecture, and only if more slots were requested."""
    line = (
        'time=2026-11-30T20:00:00.000Z level=WARN source=sched.go:509 msg="model architecture does not currently '
        'support parallel requests" architecture=qwen3vl\n'
    )
    (note,) = slots_refused(f"starting\n{line}{line}", "instance a (ollama)", 2)
    assert note == (
        "instance a (ollama): Ollama gives a model of the architecture qwen3vl one slot, but 2 slots were asked for"
    )
    assert slots_refused(line, "instance a (ollama)", 1) == slots_refused("starting", "x", 2) == ()
    noted = replace(measurement(TOGETHER), notes=(note,))
    assert facts_of(noted)[0][:2] == (CAUSE, note)
