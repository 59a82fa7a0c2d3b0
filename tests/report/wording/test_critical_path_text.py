"""The critical path in words."""

from dataclasses import replace

from pytest_llmperf.judge.metrics.graphs.critical_path import path_of
from pytest_llmperf.model import ExternalAgent, Scenario
from pytest_llmperf.report.wording.critical_path_text import path_words, traced_path
from tests.judge.build import graph_measurement, graph_round, measurement_of, round_of


def test_a_path_names_agents_rounds_and_its_largest_parts() -> None:
    """The largest six of one percent or more, by phase and agent."""
    path = traced_path(graph_measurement(graph_round(200), graph_round(index=1)))
    assert path is not None
    assert path_words(path) == (
        "critical path: planner > w3 > critic (in 1 of 2 rounds); makespan 0.468 s: queue of w3 21 %, "
        "decode of planner 19 %, decode of w3 19 %, decode of w1 19 %, decode of critic 11 %, prefill of w3 2 %"
    )


def test_a_long_loop_is_cut_in_its_middle() -> None:
    """Its first and last six agents remain."""
    path = path_of(graph_measurement(graph_round()))
    assert path is not None
    words = path_words(replace(path, agents=("writer", "critic") * 10))
    assert words.startswith(
        "critical path: writer > critic > writer > critic > writer > critic > ... 8 more ... > writer > critic > writer"
    )


def test_inferred_edges_are_said_to_be_inferred() -> None:
    """External agents do not tell what they wait for."""
    crew = Scenario(name="crew", agents=tuple(ExternalAgent(name=name, run=("x",)) for name in "xy"))
    measurement = replace(measurement_of(round_of((100, 100), (100, 200))), scenario=crew)
    path = traced_path(measurement)
    assert path is not None
    assert path_words(path).endswith("; the edges are inferred from the times of the requests")


def test_agents_that_do_not_wait_have_no_words() -> None:
    """Their slowest agent is all of the path."""
    assert traced_path(measurement_of(round_of((100, 100), (100, 200)))) is None
