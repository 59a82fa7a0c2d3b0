"""The environment of a command: what points the clients of all frameworks to the tap, and keeps them from calling home.

The table of the docs (docs/tap.md) is made from VARIABLES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.measure.agents.running_command import without_proxy

DUMMY_KEY = "llmperf"
"""A key for clients that refuse to start without one; no server that needs a login takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable that a command gets.

    Attributes:
        name: the name of the variable.
        value: with `{url}` for the agent's base address at the tap, and `{model}` for the model's name.
        readers: the clients and frameworks that read it.
        spared: whether a value that the variable already has is kept.
        unless: variables that make this one unnecessary, if one of them is set.
    """

    name: str
    value: str
    readers: str
    spared: bool = False
    unless: tuple[str, ...] = ()


VARIABLES = (
    Variable(name="LLMPERF_BASE_URL", value="{url}", readers="programs that are written for this"),
    Variable(name="LLMPERF_MODEL", value="{model}", readers="programs that are written for this"),
    Variable(name="LLMPERF_MARKS", value="1", readers="programs that mark their begin and end at the tap"),
    Variable(
        name="OLLAMA_HOST",
        value="{url}",
        readers="Ollama's clients for Python and Go (that for JavaScript by an argument), LangChain, CrewAI",
    ),
    Variable(name="OLLAMA_API_BASE", value="{url}", readers="LiteLLM, Google ADK"),
    Variable(name="OLLAMA_BASE_URL", value="{url}/v1", readers="pydantic-ai"),
    Variable(name="OLLAMA_MODEL", value="{model}", readers="Microsoft Agent Framework"),
    Variable(
        name="OPENAI_BASE_URL", value="{url}/v1", readers="OpenAI's clients, OpenAI Agents SDK, Codex, most frameworks"
    ),
    Variable(name="OPENAI_API_BASE", value="{url}/v1", readers="LiteLLM, older clients of OpenAI's API"),
    Variable(name="ANTHROPIC_BASE_URL", value="{url}", readers="Anthropic's clients, Claude Code"),
    Variable(name="ANTHROPIC_MODEL", value="{model}", readers="Claude Code"),
    Variable(name="ANTHROPIC_DEFAULT_HAIKU_MODEL", value="{model}", readers="Claude Code, for its small requests"),
    Variable(name="OPENAI_API_KEY", value=DUMMY_KEY, readers="clients that do not start without one", spared=True),
    Variable(
        name="ANTHROPIC_API_KEY",
        value=DUMMY_KEY,
        readers="clients that do not start without one",
        spared=True,
        unless=("ANTHROPIC_AUTH_TOKEN",),
    ),
    Variable(name="OPENAI_AGENTS_DISABLE_TRACING", value="1", readers="OpenAI Agents SDK: no traces to OpenAI"),
    Variable(name="LANGSMITH_TRACING", value="false", readers="LangChain, LangGraph: no traces to LangSmith"),
    Variable(name="LANGCHAIN_TRACING_V2", value="false", readers="the same, older"),
    Variable(name="CREWAI_DISABLE_TELEMETRY", value="true", readers="CrewAI"),
    Variable(name="CREWAI_DISABLE_TRACKING", value="true", readers="CrewAI"),
    Variable(name="CREWAI_TRACING_ENABLED", value="false", readers="CrewAI"),
    Variable(
        name="LITELLM_LOCAL_MODEL_COST_MAP", value="True", readers="LiteLLM: prices from its package, not the network"
    ),
    Variable(name="HF_HUB_DISABLE_TELEMETRY", value="1", readers="smolagents and others on Hugging Face's hub"),
    Variable(name="CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", value="1", readers="Claude Code"),
    Variable(name="DO_NOT_TRACK", value="1", readers="many tools, by convention"),
)
"""Every variable that a command gets in addition to the caller's environment, NO_PROXY and no_proxy."""


def team_environment(urls: Mapping[str, str], agents: Sequence[str]) -> dict[str, str | None]:
    """The variables of a team's program, in addition to `command_environment`; None: remove the variable.

    Args:
        urls: the addresses of the agents that run, by name.
        agents: the names of all its agents.
    """
    return {
        "LLMPERF_AGENTS": ",".join(urls),
        **{f"LLMPERF_BASE_URL_{agent.upper()}": urls.get(agent) for agent in agents},
    }


def command_environment(caller: Mapping[str, str], *, url: str, model: str) -> dict[str, str]:
    """The caller's environment with what points to the tap.

    Args:
        caller: the environment of this process.
        url: the agent's base address at the tap.
        model: the model's name on the server.
    """
    ours = {
        variable.name: variable.value.replace("{url}", url).replace("{model}", model)
        for variable in VARIABLES
        if not (variable.spared and caller.get(variable.name)) and not any(map(caller.get, variable.unless))
    }
    return {**caller, **without_proxy(caller), **ours}
