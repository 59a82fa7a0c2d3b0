"""Records as plain data and back."""

import json
from dataclasses import replace

from pytest_llmperf.judge.baselines.lookup import fingerprint
from pytest_llmperf.judge.record import Record, as_plain, from_plain
from pytest_llmperf.model import Agent, ExternalAgent, Loop, Scenario
from tests.judge.build import measurement_of, round_of


async def writer(url: str) -> None:
    """Does nothing."""


SCENARIO = Scenario(
    name="team",
    agents=(
        Agent(name="own", prompts=("p",)),
        ExternalAgent(name="writer", run=writer),
        ExternalAgent(name="critic", run=("python", "critic.py")),
    ),
)


def test_agents_that_we_did_not_write_survive() -> None:
    """Through JSON: commands as they are, callables by name; and once more without a change."""
    measurement = replace(measurement_of(round_of((90, 90), (100, 100))), scenario=SCENARIO)
    (back,) = from_plain(json.loads(json.dumps(as_plain([Record(test="t", measurement=measurement)]))))
    agents = back.measurement.scenario.agents
    assert agents[0] == SCENARIO.agents[0]
    assert agents[1] == ExternalAgent(name="writer", run=f"{__name__}.writer")
    assert agents[2] == SCENARIO.agents[2]
    assert from_plain(as_plain([back])) == [back]
    assert fingerprint(back.measurement.scenario) == fingerprint(SCENARIO)


def test_a_graph_survives() -> None:
    """Edges, loops and pauses, one number or several."""
    agents = (
        Agent(name="x", prompts=("p", "q"), think_s=0.5, tool_s=(1, 2)),
        Agent(name="y", prompts=("p",), after=("x",), loop=Loop(back_to="x", times=3)),
        ExternalAgent(name="z", run=("true",), after=("y",)),
    )
    measurement = replace(
        measurement_of(round_of((90, 90, 9), (99, 99, 9))), scenario=Scenario(name="s", agents=agents)
    )
    (back,) = from_plain(json.loads(json.dumps(as_plain([Record(test="t", measurement=measurement)]))))
    assert back.measurement.scenario.agents == agents
    assert fingerprint(back.measurement.scenario) == fingerprint(measurement.scenario)


def test_the_fingerprint_follows_name_and_command() -> None:
    """Another program, or another function, is another work."""
    prints = {
        fingerprint(Scenario(name="x", agents=(ExternalAgent(name=name, run=run),)))
        for name, run in (("a", writer), ("b", writer), ("a", ("x",)), ("a", ("x", "y")), ("a", "other.writer"))
    }
    assert len(prints) == 5
