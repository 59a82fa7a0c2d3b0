"""Profiles: laid over our agents, for one deployment mode, and found out in another."""

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.config import load
from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import (
    CHIMERA_HOMO,
    PROFILES,
    Agent,
    ExternalAgent,
    GenerationOptions,
    Mode,
    Profile,
    Scenario,
    mode_of,
)

ONCE = Agent(name="a", prompts=("x",), options=GenerationOptions(num_ctx=64, seed=7))


@pytest.mark.parametrize(
    ("agents", "mode"),
    [
        ((ONCE,), Mode.SINGLE_INFERENCE),
        ((Agent(name="a", prompts=("x", "y")),), Mode.AGENT_WORKFLOW),
        ((ExternalAgent(name="a", run=("curl",)),), Mode.AGENT_WORKFLOW),
        (CHIMERA_HOMO.agents, Mode.MULTI_AGENT),
    ],
)
def test_the_mode_is_seen_from_what_agents_do(agents: tuple, mode: Mode) -> None:
    """One request, several, or several agents; a program of its own may send any number."""
    assert mode_of(Scenario(name="s", agents=agents)) is mode


def test_the_report_has_a_profile_for_each_mode() -> None:
    """Called as its mode; C6's figures."""
    assert {name: profile.mode for name, profile in PROFILES.items()} == {str(mode): mode for mode in Mode}
    assert PROFILES["single_inference"].options == GenerationOptions(num_gpu=999, num_ctx=4096)
    assert PROFILES["multi_agent"].options == GenerationOptions(num_gpu=80, num_ctx=2048, temperature=1.0)


def test_options_are_laid_over_those_of_our_agents() -> None:
    """What the profile does not set stays; agents that are not ours stay as they are; the source says it."""
    theirs = ExternalAgent(name="b", run=("curl",))
    made = PROFILES["agent_workflow"].over(Scenario(name="s", agents=(ONCE, theirs), source="mine"), "agent_workflow")
    assert made.agents[0].options == GenerationOptions(num_gpu=60, num_ctx=512, temperature=0.8, seed=7)
    assert made.agents[1] is theirs
    assert made.source.startswith(
        "mine; profile agent_workflow (agent_workflow): num_ctx=512, temperature=0.8, num_gpu"
    )


def test_thinking_is_laid_over_that_of_our_agents() -> None:
    """`think` alone makes a profile; if it is not set, the agents keep their own value."""
    thinker = replace(ONCE, think="high")
    scenario = Scenario(name="s", agents=(thinker,))
    made = Profile(mode="single_inference", think=False).over(scenario, "quick")
    assert isinstance(made.agents[0], Agent)
    assert (made.agents[0].think, made.agents[0].options) == (False, ONCE.options)
    assert made.source == "profile quick (single_inference): think=False"
    kept = PROFILES["single_inference"].over(scenario, "single_inference").agents[0]
    assert isinstance(kept, Agent)
    assert kept.think == "high"


@pytest.mark.parametrize("think", ["much", 1, ""])
def test_a_value_of_think_that_is_none(think: object) -> None:
    """For an agent and for a profile."""
    with pytest.raises(ValueError, match=r"think is .*, wanted true, false, low, medium, high or max"):
        replace(ONCE, think=think)
    with pytest.raises(ValueError, match=r"think is .*, wanted true, false"):
        Profile(mode="single_inference", think=think)  # type: ignore[arg-type]


def test_a_profile_of_thinking_in_the_file(tmp_path: Path) -> None:
    """Beside the options."""
    path = tmp_path / "llmperf.toml"
    path.write_text(
        '[profiles.a]\nmode = "multi_agent"\nthink = false\n[profiles.b]\nmode = "multi_agent"\nthink = "low"\n'
    )
    profiles = load(path).profiles
    assert (profiles["a"].think, profiles["b"].think) == (False, "low")
    path.write_text('[profiles.a]\nmode = "multi_agent"\nthink = 3\n')
    with pytest.raises(UsageError, match="think"):
        load(path)


def test_another_mode_is_a_transfer() -> None:
    """Named with both modes; in its own mode there is nothing to say."""
    profile = Profile(mode="single_inference", options=GenerationOptions(num_ctx=4096))
    words = profile.transferred("mine", CHIMERA_HOMO)
    assert words.startswith(
        "configuration transfer: profile mine is for single_inference, and chimera_homo is multi_agent"
    )
    assert profile.transferred("mine", Scenario(name="s", agents=(ONCE,))) == ""
