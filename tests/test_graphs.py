"""A graph of agents on scripted servers: its figures are those computed by hand, the named cause is the true one."""

import re
from contextlib import ExitStack
from dataclasses import replace

import pytest

from pytest_llmperf.judge.diagnosis.diagnose import diagnose
from pytest_llmperf.judge.metrics.graphs.critical_path import path_of
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.judge.record import Record, as_plain, from_plain
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.model import (
    Agent,
    GenerationOptions,
    Instance,
    Measurement,
    Scenario,
    Script,
    Topology,
    TopologyKind,
)
from pytest_llmperf.report.wording.footnotes import notes_of
from tests.lent import known
from tests.scripted_time import ScriptedTime

TOKENS = 20
WORKERS = ("w1", "w2", "w3")
OPTIONS = GenerationOptions(num_predict=TOKENS, seed=1)
TEAM = Scenario(
    name="team",
    agents=(
        Agent(name="planner", prompts=("plan",), options=OPTIONS),
        *(Agent(name=name, prompts=("work",), options=OPTIONS, after=("planner",), tool_s=(0.1,)) for name in WORKERS),
        Agent(name="critic", prompts=("judge",), options=OPTIONS, after=WORKERS, think_s=0.05),
    ),
)
FRONT, BACK = "http://127.0.0.1:1", "http://127.0.0.1:2"
PLACED = Topology(
    kind=TopologyKind.FLEET,
    instances=tuple(
        Instance(name=name, url=url) for name, url in zip("abcde", (FRONT, BACK, BACK, BACK, FRONT), strict=True)
    ),
    model="m",
    backend="simulated",
)
"""Planner and critic on one server, the workers on another."""

REQUEST_S = 0.200 + 0.050 * TOKENS
"""A request to these servers: up to the first token, and an interval for each; to read the prompt takes no time."""

SCRIPT = Script(ttft_ms=200, prefill_tok_s=1e6, decode_tok_s=20, jitter_pct=0)


def measured(*, slots: int, scenario: Scenario = TEAM, rounds: int = 3) -> Measurement:
    """Rounds in scripted time, with `slots` slots at the workers' server."""
    with ExitStack() as stack:
        stack.enter_context(known(FRONT, SCRIPT, slots=2))
        stack.enter_context(known(BACK, SCRIPT, slots=slots))
        runner = Rounds(scenario, PLACED, runtime=ScriptedTime("threads"), timeout_s=30)
        made = tuple(runner.run(index) for index in range(rounds))
    return Measurement(scenario=scenario, topology=PLACED, rounds=made)


@pytest.fixture(scope="module")
def enough() -> Measurement:
    return measured(slots=3)


@pytest.fixture(scope="module")
def one_fewer() -> Measurement:
    return measured(slots=2)


def test_the_makespan_is_the_longest_chain(enough: Measurement) -> None:
    """Three requests, the workers' tool and the critic's thought, one after the other."""
    expected_s = 3 * REQUEST_S + 0.1 + 0.05
    assert series(enough, "makespan_s") == tuple(pytest.approx(expected_s, abs=1e-3) for _ in enough.rounds)
    assert series(enough, "graph_efficiency_pct") == tuple(pytest.approx(100, abs=0.1) for _ in enough.rounds)
    assert series(enough, "critical_queue_share") == tuple(pytest.approx(0, abs=1e-3) for _ in enough.rounds)
    assert series(enough, "critical_tool_share") == tuple(
        pytest.approx(0.1 / expected_s, abs=1e-3) for _ in enough.rounds
    )
    assert series(enough, "critical_think_share") == tuple(
        pytest.approx(0.05 / expected_s, abs=1e-3) for _ in enough.rounds
    )
    path = path_of(enough)
    assert path is not None
    assert path.agents in {("planner", worker, "critic") for worker in WORKERS}
    assert sum(part.share for part in path.parts) == pytest.approx(1)
    assert diagnose(enough) is None


def test_a_slot_fewer_makes_the_queue_of_the_workers_the_cause(one_fewer: Measurement) -> None:
    """One of the workers waits for a whole request, and everything after it as well."""
    expected_s = 4 * REQUEST_S + 0.1 + 0.05
    assert series(one_fewer, "makespan_s") == tuple(pytest.approx(expected_s, abs=1e-3) for _ in one_fewer.rounds)
    share = REQUEST_S / expected_s
    assert series(one_fewer, "critical_queue_share") == tuple(pytest.approx(share, abs=1e-3) for _ in one_fewer.rounds)
    efficiency_pct = 100 * (expected_s - REQUEST_S) / expected_s
    assert series(one_fewer, "graph_efficiency_pct") == tuple(
        pytest.approx(efficiency_pct, abs=0.1) for _ in one_fewer.rounds
    )
    diagnosis = diagnose(one_fewer)
    assert diagnosis is not None
    assert re.fullmatch(r"queue of w\d( and w\d)*", diagnosis.cause)
    assert diagnosis.of == "graph"
    assert diagnosis.loss_pp == pytest.approx(100 * share, abs=0.1)
    assert diagnosis.shares_pp["queue together"] == pytest.approx(100 * share, abs=0.1)
    assert "is longer than alone: queue of w" in diagnosis.sentence
    assert "takes 1200 ms of the makespan of 4950 ms, alone 0 ms" in diagnosis.sentence
    assert diagnosis.next_step.startswith("give instance ")


def test_a_note_names_path_and_phases(one_fewer: Measurement) -> None:
    """In every report; it survives the way through a file."""
    (record,) = from_plain(as_plain([Record(test="t", measurement=one_fewer)]))
    assert record.measurement == one_fewer
    (note,) = [note for note in notes_of(record, None) if note.startswith("critical path: planner > w")]
    assert "> critic (in 3 of 3 rounds); makespan 4.950 s: " in note
    assert re.search(r"queue of w\d 24 %", note)


def test_a_slower_server_is_named_by_its_phase() -> None:
    """Decode of the workers together, since they alone share a device that three of them slow down."""
    base = measured(slots=3, rounds=1)
    slowed = []
    for run in base.rounds[0].together:
        (request,) = run.requests
        more_ns = 1_000_000_000 if run.agent in WORKERS else 0
        later_ns = 1_000_000_000 if run.agent == "critic" else 0
        changed = replace(
            request,
            sent_ns=request.sent_ns + later_ns,
            arrivals_ns=(
                *(at_ns + later_ns for at_ns in request.arrivals_ns[:-1]),
                request.arrivals_ns[-1] + more_ns + later_ns,
            ),
            done_ns=request.done_ns + more_ns + later_ns,
            eval_duration_ns=request.eval_duration_ns + more_ns,
            total_duration_ns=request.total_duration_ns + more_ns,
        )
        slowed.append(replace(run, requests=(changed,)))
    diagnosis = diagnose(replace(base, rounds=(replace(base.rounds[0], together=tuple(slowed)),)))
    assert diagnosis is not None
    assert re.fullmatch(r"decode of w\d", diagnosis.cause)
