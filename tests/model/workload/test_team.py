"""Teams: what they stand for in a scenario, and what is wrong with one."""

import re

import pytest

import pytest_llmperf
from pytest_llmperf.judge.record import Record, as_plain, from_plain
from pytest_llmperf.model import Agent, ExternalAgent, ExternalTeam, Scenario, scenario_of, team_of
from tests.judge.build import measurement_of

RUN = ("agents", "{url:collector}", "--insight={url:insight}")
NAMES = ("collector", "insight")


def test_a_team_is_its_agents() -> None:
    """In their order, in the team's place, with its command and its name; a list becomes a tuple."""
    team = ExternalTeam(name="duo", run=list(RUN), agents=NAMES)  # type: ignore[arg-type]
    own = Agent(name="own", prompts=("x",))
    scenario = Scenario(name="trio", agents=(own, team))
    members = tuple(ExternalAgent(name=name, run=RUN, team="duo") for name in NAMES)
    assert scenario.agents == (own, *members) == scenario_of([own, team], name="trio").agents
    assert [team_of(agent) for agent in scenario.agents] == ["", "duo", "duo"]
    assert scenario.external
    assert pytest_llmperf.ExternalTeam is ExternalTeam
    assert repr(team) == f"ExternalTeam(name='duo', run={RUN!r}, agents={NAMES!r})"
    measurement = measurement_of()
    object.__setattr__(measurement, "scenario", scenario)
    record = Record(test="t", measurement=measurement)
    assert from_plain(as_plain([record])) == [record]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"name": ""}, "a team needs a name"),
        (
            {"agents": ("collector",)},
            "has 1 agents, wanted two or more; a program that is one agent is an ExternalAgent",
        ),
        ({"agents": "collector"}, "agents is 'collector', wanted a tuple of names"),
        ({"agents": ("a-b", "c")}, "'a-b' cannot be part of a variable's name"),
        ({"agents": ("a", "A")}, "'a' and 'A' have the same variable, LLMPERF_BASE_URL_A; give them different names"),
        ({"run": len}, "needs a list of words (a command), got a value of type builtin_function_or_method; async"),
        ({"run": ()}, "needs a command of one or more words, got none"),
        ({"run": ("x", "{url}")}, "{url} in its command names no agent of it"),
        ({"run": ("x", "{url:colector}")}, "{url:colector} in its command names no agent of it"),
    ],
)
def test_what_is_wrong_with_a_team(changes: dict, fault: str) -> None:
    """The error says what is wanted."""
    with pytest.raises(ValueError, match=re.escape(fault)):
        ExternalTeam(**{"name": "duo", "run": RUN, "agents": NAMES, **changes})


def test_what_is_wrong_with_a_team_in_a_scenario() -> None:
    """Its agents start and end together, its program knows their names, and names are unique."""
    team = ExternalTeam(name="duo", run=RUN, agents=NAMES)
    after = Agent(name="own", prompts=("x",), after=("insight",))
    with pytest.raises(ValueError, match=r"'insight' is part of team 'duo', whose agents start and end together"):
        Scenario(name="s", agents=(team, after))
    with pytest.raises(ValueError, match="two teams are called 'duo'"):
        Scenario(name="s", agents=(team, ExternalTeam(name="duo", run=("x",), agents=("a", "b"))))
    with pytest.raises(ValueError, match="two agents of one name"):
        Scenario(name="s", agents=(team, Agent(name="insight", prompts=("x",))))
    with pytest.raises(
        ValueError, match="team 'duo' cannot be replicated, because its program knows its agents by name"
    ):
        Scenario.replicated(team, 2)  # type: ignore[arg-type]
