"""What is compared of a stored measurement is what pytest compares of its scenario."""

from dataclasses import replace

import pytest

from pytest_llmperf.judge.compared_metrics import compared_in, compared_of
from pytest_llmperf.judge.diagnosis.phase_regressions import parts_of
from pytest_llmperf.judge.metrics.series import all_series
from pytest_llmperf.model import Agent, ExternalAgent, Measurement, Scenario, Stored, StoredSession
from tests.judge.build import graph_measurement, graph_round, measurement_of, round_of, run, served


def together_and_alone(*agents: Agent | ExternalAgent) -> Measurement:
    """A round of agents that ask one after the other."""
    both = tuple(run(agent.name, served(100 * place)) for place, agent in enumerate(agents))
    scenario = Scenario(name="s", agents=agents)
    return graph_measurement(replace(graph_round(), together=both, solo=both), scenario=scenario)


ALONE = Agent(name="a", prompts=("x",))
AFTER = Agent(name="b", prompts=("x",), after=("a",))
MEASUREMENTS = {
    "a graph": graph_measurement(graph_round()),
    "two of a graph": together_and_alone(ALONE, AFTER),
    "an external graph": together_and_alone(ALONE, ExternalAgent(name="b", run=("x",), after=("a",))),
    "two agents": measurement_of(round_of((100, 100), (100, 150))),
    "one agent": together_and_alone(ALONE),
}


@pytest.mark.parametrize("kind", MEASUREMENTS)
def test_a_stored_measurement_is_compared_as_its_scenario(kind: str) -> None:
    """By what the session has: an external graph has no graph efficiency, a single agent no balance."""
    measurement = MEASUREMENTS[kind]
    rounds = {name: tuple(values) for name, values in all_series(measurement).items()}
    session = StoredSession(saved_at="now", manifest={}, rounds=rounds, parts=parts_of(measurement))
    entry = Stored(test="t", scenario="s", topology="dual", workload="w", session=(session, session))
    assert compared_in(entry) == compared_of(measurement.scenario)
