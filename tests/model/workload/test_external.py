"""Agents that we did not write, as values: what they refuse, how they are named, and what is kept of them."""

import functools

import pytest

from pytest_llmperf.model import (
    Agent,
    AgentRun,
    ExternalAgent,
    GenerationOptions,
    RequestTiming,
    Scenario,
    Workload,
    scenario_of,
)


async def writer(url: str) -> None:
    """Does nothing."""


def plain(url: str) -> None:
    """Does nothing at once."""


@functools.wraps(writer)
def wrapped(url: str) -> object:
    """Hands on what it wraps."""
    return writer(url)


class Critic:
    async def __call__(self, url: str) -> None:
        """Does nothing."""

    async def method(self, url: str) -> None:
        """Does nothing."""


HERE = __name__


@pytest.mark.parametrize(
    ("run", "stored"),
    [
        (writer, f"{HERE}.writer"),
        (wrapped, f"{HERE}.writer"),
        (functools.partial(writer), f"{HERE}.writer"),
        (Critic(), f"{HERE}.Critic"),
        (Critic().method, f"{HERE}.Critic.method"),
        (lambda url: writer(f"{url}/x"), f"{HERE}.<lambda>"),
        (("python", "agent.py"), ("python", "agent.py")),
        (["python", "agent.py"], ("python", "agent.py")),
        ("module.name", "module.name"),
    ],
    ids=["function", "wrapper", "partial", "object", "method", "lambda", "command", "list", "out of a record"],
)
def test_what_is_kept_of_an_agent(run: object, stored: object) -> None:
    """A command as it is, a callable by its qualified name; nothing is known of its options."""
    agent = ExternalAgent(name="x", run=run)
    assert agent.stored == stored
    assert agent.options == GenerationOptions()
    assert Scenario(name="s", agents=(agent,)).external


@pytest.mark.parametrize(
    "run", [plain, (), ("a", 1), 7, []], ids=["plain function", "empty", "number in it", "number", "empty list"]
)
def test_what_is_no_agent(run: object) -> None:
    """A function that is not async would block all others; a command is a list of words."""
    with pytest.raises(ValueError, match="agent 'x' needs"):
        ExternalAgent(name="x", run=run)


def test_it_needs_a_name() -> None:
    """As every agent does."""
    with pytest.raises(ValueError, match="needs a name"):
        ExternalAgent(name="", run=writer)


def test_a_scenario_is_made_of_agents_functions_and_commands() -> None:
    """In their order, each named after its function, its script or its program, and no two alike."""
    own = Agent(name="writer", prompts=("p",))
    commands = [["python", "-m", "critic"], ["/usr/bin/node", "some/critic.mjs", "-v"], ["./critic"]]
    made = scenario_of([own, writer, Critic(), lambda url: writer(f"{url}/x"), *commands], name="team")
    assert made.name == "team"
    assert [agent.name for agent in made.agents] == [
        "writer",
        "writer_2",
        "Critic",
        "lambda",
        "critic",
        "critic_2",
        "critic_3",
    ]
    assert made.agents[0] is own
    assert made.agents[4] == ExternalAgent(name="critic", run=("python", "-m", "critic"))


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python3", "-u", "agents/writer.py"], "writer"),
        (["python3", "-X", "dev", "writer.py", "--config", "other.js"], "writer"),
        (["env", "MODE=fast", "python3.12", "writer.py"], "writer"),
        (["uv", "run", "python", "-m", "team.writer.__main__"], "writer"),
        (["/opt/pypy3", "-u", "-m", "team.writer"], "writer"),
        (["bash", "-e", "writer.sh"], "writer"),
        (["python3", "-c", "import this"], "python3"),
        (["python3", "-"], "python3"),
        (["python3"], "python3"),
        (["python3", "-m"], "python3"),
        (["llama-cli", "-m", "tiny.gguf", "-p", "hi"], "llama-cli"),
        (["agent", "--config", "team.yaml"], "agent"),
        (["agent", "--token", "secret.py"], "agent"),
        (["agent", "team.yaml"], "team"),
    ],
    ids=str,
)
def test_a_command_is_named_after_its_script(command: list[str], name: str) -> None:
    """The script may be anywhere among the words; equal names are numbered, and a secret is never a name."""
    made = scenario_of([command, command], name="team")
    assert [agent.name for agent in made.agents] == [name, f"{name}_2"]


def test_the_name_of_a_rounds_part_is_taken() -> None:
    """`together` is what all of them do."""

    async def together(url: str) -> None:
        """Does nothing."""

    (agent,) = scenario_of([together], name="x").agents
    assert agent.name == "together_2"


@pytest.mark.parametrize("agents", [["curl -s x"], [[]], [3], []], ids=str)
def test_what_makes_no_scenario(agents: list) -> None:
    """A text is no list of words."""
    with pytest.raises(ValueError, match=r"needs|list of words"):
        scenario_of(agents, name="x")


def test_a_workload_is_laid_over_our_own_agents_only() -> None:
    """External agents are not scaled; if there are no other agents, the scenario is not marked as scaled."""
    own, external = Agent(name="own", prompts=("p",)), ExternalAgent(name="external", run=writer)
    workload = Workload(reason="small", num_predict=8)
    mixed = Scenario(name="x", agents=(own, external)).scaled(workload)
    assert mixed.agents[0].options.num_predict == 8
    assert mixed.agents[1] is external
    assert mixed.scaled_by
    alone = Scenario(name="x", agents=(external,))
    assert alone.scaled(workload) is alone


def test_an_agents_time_ends_with_its_last_answer() -> None:
    """If several requests run at once, the last request sent need not be the last one answered."""
    requests = tuple(
        RequestTiming(sent_ns=sent, done_ns=done, arrivals_ns=(), eval_count=1) for sent, done in ((10, 90), (20, 50))
    )
    assert AgentRun(agent="a", instance="a", start_ns=5, requests=requests).duration_ns == 85
