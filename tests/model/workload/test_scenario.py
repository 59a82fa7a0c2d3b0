"""Scenarios: what they refuse, how a workload scales them, and the parameters of the report's three."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.model import (
    BASELINE_VS_CHIMERA,
    CHIMERA_HETERO,
    CHIMERA_HOMO,
    CONVERSATION,
    Agent,
    ExternalAgent,
    GenerationOptions,
    Instance,
    Scenario,
    Topology,
    TopologyKind,
    Workload,
)

ALL = (BASELINE_VS_CHIMERA, CHIMERA_HETERO, CHIMERA_HOMO, CONVERSATION)


def test_only_options_that_are_set_are_sent() -> None:
    """None leaves the server's default in force, 0 is a value."""
    options = GenerationOptions(temperature=0.0, num_gpu=0, stop=("END",))
    assert options.as_request() == {"temperature": 0.0, "num_gpu": 0, "stop": ("END",)}


@pytest.mark.parametrize("prompts", [(), "one text"], ids=["none", "a text instead of a tuple"])
def test_an_agent_needs_a_tuple_of_prompts(prompts: object) -> None:
    """A lone text would be sent letter by letter."""
    with pytest.raises(ValueError, match="needs a tuple"):
        Agent(name="a", prompts=prompts)


def test_agents_need_names_of_their_own() -> None:
    """The names identify the results."""
    with pytest.raises(ValueError, match="needs a name"):
        Agent(name="", prompts=("p",))
    agent = Agent(name="a", prompts=("p",))
    with pytest.raises(ValueError, match="two agents of one name"):
        Scenario(name="s", agents=(agent, agent))
    with pytest.raises(ValueError, match="at least one agent"):
        Scenario(name="s", agents=())


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_the_reports_scenarios_have_two_agents_and_fixed_work(scenario: Scenario) -> None:
    """Seeds and num_predict are set, so that solo and together do the same; each names its source."""
    assert len(scenario.agents) == 2
    assert {(agent.options.seed, agent.options.num_predict) for agent in scenario.agents} == {(42, 96)}
    assert "report 3.5" in scenario.source


def test_parameters_of_the_report() -> None:
    """8.5 for multi-agent: 80 layers or more, 512 to 2048 tokens, temperature 0.8 to 1.0; one side with defaults."""
    default, tuned = (agent.options for agent in BASELINE_VS_CHIMERA.agents)
    assert (default.num_gpu, default.num_ctx, default.temperature) == (None, None, None)
    pairs = [tuned, *(agent.options for scenario in (CHIMERA_HETERO, CHIMERA_HOMO) for agent in scenario.agents)]
    for options in pairs:
        assert options.num_gpu >= 80
        assert 512 <= options.num_ctx <= 2048
        assert 0.8 <= options.temperature <= 1.0
    left, right = CHIMERA_HOMO.agents
    assert (left.options, left.prompts) == (right.options, right.prompts)
    assert CHIMERA_HETERO.agents[0].options != CHIMERA_HETERO.agents[1].options


@given(st.sampled_from(ALL), st.integers(64, 4096), st.integers(1, 512))
def test_a_workload_scales_visibly(scenario: Scenario, num_ctx: int, num_predict: int) -> None:
    """Its options replace each agent's, the rest stays, and the scenario says what was done and why."""
    scaled = scenario.scaled(Workload(reason="small", num_ctx=num_ctx, num_predict=num_predict))
    for before, after in zip(scenario.agents, scaled.agents, strict=True):
        assert (after.options.num_ctx, after.options.num_predict) == (num_ctx, num_predict)
        assert (after.name, after.prompts, after.options.seed) == (before.name, before.prompts, before.options.seed)
    assert scaled.scaled_by == f"num_ctx={num_ctx}, num_predict={num_predict} (small)"


def test_no_workload_changes_nothing() -> None:
    """Neither none nor an empty one."""
    assert CHIMERA_HOMO.scaled(None) is CHIMERA_HOMO
    assert CHIMERA_HOMO.scaled(Workload(reason="nothing")) is CHIMERA_HOMO


def test_placement() -> None:
    """Shared topologies send every agent to one instance; the others give each its own, or refuse."""
    a, b = Instance(name="a", url="http://a"), Instance(name="b", url="http://b")
    dual = Topology(kind=TopologyKind.DUAL, instances=(a, b), model="m", backend="attach")
    single = Topology(kind=TopologyKind.SINGLE_PARALLEL, instances=(a,), model="m", backend="simulated")
    assert [dual.instance_of(index) for index in (0, 1)] == [a, b]
    assert [single.instance_of(index) for index in (0, 1, 2)] == [a, a, a]
    assert (dual.simulated, single.simulated) == (False, True)
    with pytest.raises(ValueError, match="agent 3 needs its own"):
        dual.instance_of(2)


HALF = "caf\udce9"


@pytest.mark.parametrize(
    "make",
    [
        lambda: GenerationOptions(stop=(HALF,)),
        lambda: GenerationOptions(stop=("fine", "NUL\0")),
        lambda: Agent(name=HALF, prompts=("x",)),
        lambda: Agent(name="a", prompts=("x", HALF)),
        lambda: ExternalAgent(name=HALF, run=("curl",)),
        lambda: ExternalAgent(name="a", run=("curl", "NUL\0")),
        lambda: Scenario(name=HALF, agents=(Agent(name="a", prompts=("x",)),)),
        lambda: Scenario(name="s", source=HALF, agents=(Agent(name="a", prompts=("x",)),)),
    ],
)
def test_text_that_cannot_be_sent_is_refused_where_it_is_given(make) -> None:
    """Half of a surrogate pair, or NUL, in whatever is sent or stored: an error that can be shown itself."""
    with pytest.raises(ValueError, match=r"holds the (lone surrogate|character NUL)") as caught:
        make()
    str(caught.value).encode()


def test_words_of_a_command_may_be_any_bytes() -> None:
    """As a system's file names are; records can be written all the same."""
    agent = ExternalAgent(name="a", run=("cat", HALF))
    assert agent.run == ("cat", HALF)


def test_equal_agents() -> None:
    """They differ by name only; the scenario's name tells how many they are."""
    writer = Agent(name="writer", prompts=("x",), options=GenerationOptions(seed=1))
    team = Scenario.replicated(writer, 3)
    assert team.name == "writer_x3"
    assert [agent.name for agent in team.agents] == ["writer_1", "writer_2", "writer_3"]
    assert {(agent.prompts, agent.options) for agent in team.agents} == {(writer.prompts, writer.options)}
    program = Scenario.replicated(ExternalAgent(name="tool", run=("true",)), 2, name="tools")
    assert (program.name, [agent.name for agent in program.agents]) == ("tools", ["tool_1", "tool_2"])


@pytest.mark.parametrize("count", [0, -1, True, 2.0, "2"])
def test_a_number_of_agents_is_a_number(count: object) -> None:
    with pytest.raises(ValueError, match="wanted a number of agents, 1 or more"):
        Scenario.replicated(Agent(name="writer", prompts=("x",)), count)
