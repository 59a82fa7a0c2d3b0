"""Graphs of agents: what they refuse, and which request waits for which."""

import pytest

from pytest_llmperf.model import LAST, Agent, ExternalAgent, Loop, Scenario, Step, alone, steps_of

S_NS = 1_000_000_000


def agent(name: str, *after: str, prompts: int = 1, **others) -> Agent:
    return Agent(name=name, prompts=("x",) * prompts, after=after, **others)


def steps(*agents: Agent | ExternalAgent) -> dict[str, tuple[Step, ...]]:
    scenario = Scenario(name="s", agents=agents)
    return dict(zip([agent.name for agent in agents], steps_of(scenario.agents), strict=True))


def waits(*agents: Agent | ExternalAgent) -> dict[str, list[tuple[tuple[int, int], ...]]]:
    return {name: [step.waits_for for step in own] for name, own in steps(*agents).items()}


def test_without_edges_nobody_waits() -> None:
    """As before: every agent starts at the barrier."""
    assert waits(agent("a", prompts=2), agent("b")) == {"a": [(), ()], "b": [()]}
    assert not Scenario(name="s", agents=(agent("a"), agent("b"))).graph


def test_an_agent_waits_for_the_last_request_of_each_agent_before_it() -> None:
    """Fan-out and join; the order in which agents are written does not matter."""
    team = (agent("critic", "w1", "w2"), agent("w1", "planner"), agent("w2", "planner"), agent("planner", prompts=3))
    assert waits(*team) == {"critic": [((1, 0), (2, 0))], "w1": [((3, 2),)], "w2": [((3, 2),)], "planner": [()] * 3}
    assert Scenario(name="s", agents=team).graph


def test_a_loop_is_unrolled() -> None:
    """Writer and critic take turns three times; the reporter waits for the last, the planner works once."""
    loop = Loop(back_to="writer", times=3)
    assert waits(
        agent("planner"),
        agent("writer", "planner", prompts=2),
        agent("critic", "writer", loop=loop),
        agent("reporter", "critic", "writer"),
    ) == {
        "planner": [()],
        "writer": [((0, 0),), (), ((0, 0), (2, 0)), (), ((0, 0), (2, 1)), ()],
        "critic": [((1, 1),), ((1, 3),), ((1, 5),)],
        "reporter": [((2, 2), (1, 5))],
    }


def test_an_agent_alone_may_repeat_itself() -> None:
    """It waits only for its own answers."""
    assert waits(agent("a", loop=Loop(back_to="a", times=3))) == {"a": [(), (), ()]}


def test_external_agents_are_waited_for_as_a_whole() -> None:
    """Their requests are not known."""
    tool = ExternalAgent(name="tool", run=("true",), after=["a"])
    assert waits(agent("a", prompts=2), tool, agent("b", "tool")) == {
        "a": [(), ()],
        "tool": [((0, 1),)],
        "b": [((1, LAST),)],
    }
    assert tool.after == ("a",)


def test_pauses_are_for_each_request() -> None:
    """A number of tools is for the answers that another request follows; alone an agent pauses as well."""
    own = steps(agent("a"), agent("b", "a", prompts=2, think_s=1, tool_s=0.5))["b"]
    assert [(step.think_ns, step.tool_ns) for step in own] == [(S_NS, S_NS // 2), (S_NS, 0)]
    own = steps(agent("a"), agent("b", "a", prompts=2, think_s=[0, 2], tool_s=(0.25, 3)))["b"]
    assert [(step.think_ns, step.tool_ns) for step in own] == [(0, S_NS // 4), (2 * S_NS, 3 * S_NS)]
    assert [step.waits_for for step in own] == [((0, 0),), ()]
    assert alone(own) == (Step(tool_ns=S_NS // 4), Step(think_ns=2 * S_NS, tool_ns=3 * S_NS))


@pytest.mark.parametrize(
    ("agents", "words"),
    [
        ([agent("a", "a")], r"agent 'a' comes after itself; to repeat its work, give it loop=Loop\(back_to='a'"),
        ([agent("a"), agent("b", "plannr"), agent("planner")], r"'plannr', which is no agent.*did you mean.*planner"),
        ([agent("a", "b")], r"'b', which is no agent of the scenario; wanted one of none: it is the only agent"),
        ([agent("a", "b"), agent("b", "a")], r"a circle without a bound: .*a.*b.*loop=Loop\("),
        (
            [agent("a", "c"), agent("b", "a"), agent("c", "b"), agent("d")],
            r"circle without a bound: .* -> .* -> .* -> ",
        ),
        (
            [agent("a", loop=Loop(back_to="x", times=2)), agent("b")],
            r"loop of agent 'a' goes back to 'x'.*wanted one of a, b",
        ),
        (
            [agent("a"), agent("b", "a", loop=Loop(back_to="c", times=2)), agent("c", "b")],
            r"loop of agent 'b' goes back to 'c', which it does not come after",
        ),
        (
            [ExternalAgent(name="x", run=("true",)), agent("b", "x", loop=Loop(back_to="x", times=2))],
            r"repeats 'x', an external agent.*repeat the work inside",
        ),
        (
            [
                agent("a"),
                agent("b", "a", loop=Loop(back_to="a", times=2)),
                agent("c", "b", loop=Loop(back_to="b", times=2)),
            ],
            r"agent 'b' is in two loops",
        ),
    ],
)
def test_a_graph_that_makes_no_sense_is_refused(agents: list[Agent], words: str) -> None:
    """Before anything runs, with what to do."""
    with pytest.raises(ValueError, match=rf"(?s)scenario 's': .*{words}"):
        Scenario(name="s", agents=tuple(agents))


@pytest.mark.parametrize("times", [0, -1, 1001, True, 2.0, None])
def test_a_loop_needs_a_bound(times: object) -> None:
    """A round must end, and do the same work as every other."""
    with pytest.raises(ValueError, match=r"needs a bound: times is .*, wanted 1 to 1000"):
        Loop(back_to="a", times=times)
    with pytest.raises(ValueError, match="needs a bound"):
        Loop(back_to="a")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"after": "planner"}, r"after is 'planner', wanted a tuple of agents' names"),
        ({"after": ("a", 1)}, r"after is \('a', 1\), wanted a tuple"),
        ({"after": ("a", "a")}, r"after holds 'a' twice"),
        ({"think_s": -1}, r"think_s is -1, wanted seconds from 0"),
        ({"tool_s": float("nan")}, r"tool_s is nan"),
        ({"tool_s": True}, r"tool_s is True"),
        ({"tool_s": "1"}, r"tool_s is '1'"),
        ({"think_s": (1, 2, 3)}, r"think_s has 3 numbers for 1 prompts"),
        ({"think_s": ()}, r"think_s has 0 numbers for 1 prompts"),
    ],
)
def test_edges_and_pauses_are_checked(fields: dict, words: str) -> None:
    """The text says which agent, what it got and what is wanted."""
    with pytest.raises(ValueError, match=rf"agent 'x': {words}"):
        Agent(name="x", prompts=("p",), **fields)
