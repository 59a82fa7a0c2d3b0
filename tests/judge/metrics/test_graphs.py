"""Makespan, critical path and graph efficiency, against figures computed by hand."""

from collections import Counter
from dataclasses import replace

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.gate_kinds import GATE_KINDS
from pytest_llmperf.judge.metrics.catalogue import CATALOGUE, PHASES
from pytest_llmperf.judge.metrics.graphs.critical_path import CriticalPath, hops_of, path_of
from pytest_llmperf.judge.metrics.series import all_series, series
from pytest_llmperf.model import Agent, ExternalAgent, Loop, Measurement, Scenario
from tests.judge.build import TEAM, graph_measurement, graph_round, measurement_of, request, round_of, run, served


def parts_of(path: CriticalPath | None) -> dict[tuple[str, str], float]:
    assert path is not None
    return {(part.agent, part.phase): part.ms for part in path.parts}


def path(measurement: Measurement) -> CriticalPath:
    measured = path_of(measurement)
    assert measured is not None
    return measured


def test_a_path_by_hand() -> None:
    """100 + 200 + 60 ms of work with 1 + 2 + 1 ms of the clients and 4 ms of thought; the parts are the makespan."""
    measured = path(graph_measurement(graph_round()))
    assert measured.makespan_ms == pytest.approx(368)
    assert measured.agents == ("planner", "w1", "critic")
    assert (measured.count, measured.rounds, measured.inferred) == (1, 1, False)
    assert parts_of(measured) == {
        ("planner", "client"): pytest.approx(1),
        ("planner", "prefill"): 9,
        ("planner", "decode"): 90,
        ("planner", "rest"): 1,
        ("w1", "client"): pytest.approx(2),
        ("w1", "prefill"): 20,
        ("w1", "decode"): 180,
        ("critic", "think"): pytest.approx(4),
        ("critic", "client"): pytest.approx(1),
        ("critic", "prefill"): 10,
        ("critic", "decode"): 50,
    }
    assert [part.ms for part in measured.parts] == sorted((part.ms for part in measured.parts), reverse=True)
    assert sum(part.share for part in measured.parts) == pytest.approx(1)


def test_the_worker_that_waits_for_a_slot_is_critical() -> None:
    """In one of two rounds it waits 200 ms: its queue time is on the path, and has no counterpart alone."""
    measurement = graph_measurement(graph_round(200), graph_round(300, index=1), graph_round(index=2))
    measured = path(measurement)
    assert (measured.agents, measured.count, measured.rounds) == (("planner", "w3", "critic"), 2, 3)
    (queue,) = [part for part in measured.parts if part.phase == "queue"]
    assert (queue.agent, queue.ms, queue.alone_ms) == ("w3", pytest.approx(500 / 3), 0)
    assert series(measurement, "makespan_s") == (pytest.approx(0.568), pytest.approx(0.668), pytest.approx(0.368))
    assert series(measurement, "critical_queue_share") == (pytest.approx(200 / 568), pytest.approx(300 / 668), 0)
    assert series(measurement, "critical_think_share") == tuple(pytest.approx(4 / ms) for ms in (568, 668, 368))
    shares = [series(measurement, f"critical_{phase}_share") for phase in PHASES]
    assert [sum(of_round) for of_round in zip(*shares, strict=True)] == [pytest.approx(1)] * 3


def test_graph_efficiency_is_the_path_alone_over_the_makespan() -> None:
    """100 + 200 + 4 + 60 ms alone; an agent that ran beside the path counts, too, if it takes longer alone."""
    measurement = graph_measurement(graph_round(), graph_round(200, index=1))
    assert series(measurement, "graph_efficiency_pct") == (pytest.approx(36400 / 368), pytest.approx(36400 / 568))
    quick = graph_measurement(graph_round(decode_ms=80))  # the workers' answers take 100 ms less than alone
    assert series(quick, "graph_efficiency_pct") == (pytest.approx(36400 / 268),)


def test_a_step_with_other_work_counts_per_token() -> None:
    """Twice the tokens alone: half the time counts."""
    base = graph_round()
    solo = (replace(base.solo[0], requests=(served(1, prefill=9, decode=90, rest=1, tokens=20),)), *base.solo[1:])
    measurement = graph_measurement(replace(base, solo=solo))
    assert series(measurement, "graph_efficiency_pct") == (pytest.approx((36400 - 5000) / 368),)


def test_a_graph_has_no_balance() -> None:
    """And says what it has; slowdown and all that is per request is as defined as ever."""
    measurement = graph_measurement(graph_round())
    for name in ("efficiency_pct", "scaling_efficiency_pct", "speedup", "scaling_speedup", "efficiency_pct_cv_pct"):
        with pytest.raises(MeasurementError, match="is undefined for a graph of agents") as caught:
            series(measurement, name)
        assert "makespan" in caught.value.next_step
    assert {"makespan_s", "graph_efficiency_pct", "ttft_ms", "queue_ms", "system_tok_s"} <= set(all_series(measurement))


def test_slowdown_leaves_out_what_an_agent_was_to_wait() -> None:
    """The critic has 61 of 368 ms for itself, and 60 alone; it waits for the rest."""
    base = graph_round()
    waits = [0, 101, 101, 101, 307]
    together = tuple(replace(each, paused_ns=ms * 1_000_000) for each, ms in zip(base.together, waits, strict=True))
    solo = (*base.solo[:-1], replace(base.solo[-1], paused_ns=4_000_000))
    (slowdown,) = series(graph_measurement(replace(base, together=together, solo=solo)), "slowdown")
    assert slowdown == pytest.approx(61 / 60)


def test_agents_at_once_have_a_path_too() -> None:
    """The slowest agent; but they are no graph, and keep their balance."""
    measurement = measurement_of(round_of((100, 100), (100, 200)))
    assert path(measurement).agents == ("y",)
    assert series(measurement, "makespan_s") == (0.2,)
    with pytest.raises(MeasurementError, match="no agent waits for another") as caught:
        series(measurement, "graph_efficiency_pct")
    assert "Agent(after=...)" in caught.value.next_step
    assert series(measurement, "efficiency_pct") == (75,)


def test_tools_are_their_agent_s() -> None:
    """Between its own requests, and before those that come after it."""
    scenario = Scenario(
        name="tools",
        agents=(
            Agent(name="a", prompts=("x", "y"), tool_s=(0.03, 0.05)),
            Agent(name="b", prompts=("x",), after=("a",), think_s=0.01),
        ),
    )
    both = (run("a", served(0), served(81)), run("b", served(193)))
    measurement = graph_measurement(replace(graph_round(), together=both, solo=both), scenario=scenario)
    assert parts_of(path(measurement)) == {
        ("a", "decode"): 100,
        ("a", "tool"): pytest.approx(80),
        ("a", "client"): pytest.approx(1),
        ("b", "think"): pytest.approx(10),
        ("b", "client"): pytest.approx(2),
        ("b", "decode"): 50,
    }
    assert series(measurement, "critical_tool_share") == (pytest.approx(80 / 243),)
    assert series(measurement, "graph_efficiency_pct") == (pytest.approx(100 * 240 / 243),)


def test_a_loop_passes_each_agent_several_times() -> None:
    """The path has all of its passages."""
    scenario = Scenario(
        name="loop",
        agents=(
            Agent(name="writer", prompts=("x",)),
            Agent(name="critic", prompts=("x",), after=("writer",), loop=Loop(back_to="writer", times=2)),
        ),
    )
    both = (run("writer", served(0), served(100)), run("critic", served(50), served(150)))
    measurement = graph_measurement(replace(graph_round(), together=both, solo=both), scenario=scenario)
    assert path(measurement).agents == ("writer", "critic", "writer", "critic")
    assert parts_of(path(measurement)) == {("writer", "decode"): 100, ("critic", "decode"): 100}
    assert [hop.place for hop in hops_of(scenario, both)] == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_edges_of_external_agents_are_inferred() -> None:
    """Each request waits for the last one ended before it; a call during another agent's work waits for the barrier."""
    scenario = Scenario(name="crew", agents=tuple(ExternalAgent(name=name, run=("x",)) for name in ("lead", "hand")))
    both = (run("lead", served(2), served(160)), run("hand", served(30), served(90)))
    measurement = graph_measurement(replace(graph_round(), together=both, solo=both), scenario=scenario)
    measured = path(measurement)
    assert measured.inferred
    assert [hop.place for hop in hops_of(scenario, both)] == [(1, 0), (1, 1), (0, 1)]
    assert parts_of(measured) == {
        ("hand", "decode"): 100,
        ("hand", "client"): pytest.approx(40),
        ("lead", "decode"): 50,
        ("lead", "client"): pytest.approx(20),
    }


def test_declared_and_inferred_edges_mix() -> None:
    """What comes after an external agent as a whole waits for its last answer."""
    scenario = Scenario(
        name="mixed",
        agents=(
            Agent(name="a", prompts=("x",)),
            ExternalAgent(name="b", run=("x",), after=("a",)),
            Agent(name="c", prompts=("x",), after=("b",)),
        ),
    )
    both = (run("a", served(0)), run("b", served(60), served(120)), run("c", served(180)))
    measurement = graph_measurement(replace(graph_round(), together=both, solo=both), scenario=scenario)
    assert path(measurement).agents == ("a", "b", "c")
    with pytest.raises(MeasurementError, match="the steps of external agents are not known"):
        series(measurement, "graph_efficiency_pct")


def test_a_server_without_durations_has_no_queue() -> None:
    """A share of the queue is undefined, not 0; the client's own phases are known."""
    base = graph_round()
    silent = (replace(base.together[0], requests=(request(sent_ms=1, decode_ms=0),)), *base.together[1:])
    measurement = graph_measurement(replace(base, together=silent))
    with pytest.raises(MeasurementError, match=r"round 0: the share of queue .* 1 of its 3 answers give no") as caught:
        series(measurement, "critical_queue_share")
    assert caught.value.next_step
    assert series(measurement, "critical_client_share") == (pytest.approx(4 / 368),)
    assert ("planner", "prefill") in parts_of(path(measurement))


def test_a_round_that_lacks_requests_has_no_path() -> None:
    """It is an error of the metric, and no path is shown."""
    base = graph_round()
    twice = (run("planner", served(0), served(50)), *base.together[1:])
    measurement = graph_measurement(replace(base, together=twice))
    assert path_of(measurement) is None
    assert path_of(graph_measurement()) is None
    with pytest.raises(MeasurementError, match="agent 'planner' sent 2 requests, wanted 1"):
        series(measurement, "critical_queue_share")
    silent = replace(base.together[0], requests=())  # the others wait for it
    without = graph_measurement(replace(base, together=(silent, *base.together[1:])))
    outside = replace(TEAM, agents=(ExternalAgent(name="planner", run=("plan",)), *TEAM.agents[1:]))
    for measurement, wanted in ((without, "1"), (replace(without, scenario=outside), "at least 1")):
        assert path_of(measurement) is None
        with pytest.raises(MeasurementError, match=f"agent 'planner' sent 0 requests, wanted {wanted}"):
            series(measurement, "critical_queue_share")


def test_every_phase_is_in_the_catalogue() -> None:
    """With the same words as the parts of a path."""
    hops = hops_of(TEAM, graph_round().together)
    assert {phase for hop in hops for phase in hop.phases_ns} == set(PHASES)
    assert Counter(name for name in CATALOGUE if name.startswith("critical_")) == Counter(
        f"critical_{phase}_share" for phase in PHASES
    )
    (choices,) = [row.choices for row in GATE_KINDS["critical_path"].keywords if row.choices]
    assert choices == PHASES
