"""The frameworks that are tried: where their environments are, what runs in them, and what must be seen at the tap."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
AGENTS = HERE / "agents"
ENVIRONMENTS = Path(os.environ.get("LLMPERF_FRAMEWORKS") or HERE.parent.parent / ".frameworks")
"""A folder for each environment; `make frameworks` makes them."""

FAILED = "not-installed.txt"
"""In an environment that could not be made: why."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Packages of one language that are installed together.

    Attributes:
        name: the name of its folder.
        packages: as pip or npm take them; the module for Go.
        language: `python`, `node` or `go`.
    """

    name: str
    packages: tuple[str, ...]
    language: str = "python"

    @property
    def folder(self) -> Path:
        return ENVIRONMENTS / self.name

    @property
    def problem(self) -> str:
        """Why it is not there; empty if it is."""
        if (self.folder / FAILED).exists():
            return (self.folder / FAILED).read_text(encoding="utf-8").strip()
        return "" if self.folder.exists() else "not installed yet: make frameworks"


@dataclass(frozen=True, kw_only=True)
class Framework:
    """One way to use a framework.

    Attributes:
        title: for the table of the docs.
        environment: what it needs.
        program: a file of `agents`.
        endpoint: that it asks.
        streams: whether it streams.
        package: whose version is shown.
    """

    title: str
    environment: Environment
    program: str
    endpoint: str
    streams: bool
    package: str

    @property
    def command(self) -> tuple[str, ...]:
        """Its program and arguments, without the prompt."""
        folder, file = self.environment.folder, str(AGENTS / self.program)
        if self.environment.language == "python":
            return str(folder / "bin" / "python"), file
        return ("node", str(folder / self.program)) if self.environment.language == "node" else (str(folder / "agent"),)


CLIENTS = Environment(name="clients", packages=("ollama", "openai", "anthropic"))
PLUGIN = f"{HERE.parent.parent}[simulated]"
"""The plugin itself: docs/how-to/langgraph.md shows both in one environment."""

LANGGRAPH = Environment(name="langgraph", packages=("langgraph", "langchain-ollama", PLUGIN))
CREWAI = Environment(name="crewai", packages=("crewai",))
OPENAI_AGENTS = Environment(name="openai_agents", packages=("openai-agents",))
PYDANTIC_AI = Environment(name="pydantic_ai", packages=("pydantic-ai-slim[openai]",))
LLAMAINDEX = Environment(name="llamaindex", packages=("llama-index-core", "llama-index-llms-ollama"))
SMOLAGENTS = Environment(name="smolagents", packages=("smolagents[openai]",))
GOOGLE_ADK = Environment(name="google_adk", packages=("google-adk", "litellm"))
AUTOGEN = Environment(name="autogen", packages=("autogen-agentchat", "autogen-ext[ollama]"))
AG2 = Environment(name="ag2", packages=("ag2[ollama]",))
STRANDS = Environment(name="strands", packages=("strands-agents[ollama]",))
LITELLM = Environment(name="litellm", packages=("litellm",))
MICROSOFT = Environment(name="agent_framework", packages=("agent-framework-core", "agent-framework-ollama"))
NODE = Environment(name="node", packages=("ollama",), language="node")
GO = Environment(name="go", packages=("github.com/ollama/ollama",), language="go")

CHAT, V1 = "/api/chat", "/v1/chat/completions"


def _framework(title: str, environment: Environment, program: str, endpoint: str, *, streams: bool) -> Framework:
    package = environment.packages[0].partition("[")[0]
    if environment is CLIENTS:
        package = program.partition("_")[0]
    return Framework(
        title=title, environment=environment, program=program, endpoint=endpoint, streams=streams, package=package
    )


FRAMEWORKS = (
    _framework("LangGraph (`langchain-ollama`)", LANGGRAPH, "langgraph_agent.py", CHAT, streams=True),
    _framework("CrewAI", CREWAI, "crewai_agent.py", V1, streams=False),
    _framework("OpenAI Agents SDK, `run`", OPENAI_AGENTS, "openai_agents_responses.py", "/v1/responses", streams=False),
    _framework("OpenAI Agents SDK, `run_streamed`, chat API", OPENAI_AGENTS, "openai_agents_chat.py", V1, streams=True),
    _framework("pydantic-ai", PYDANTIC_AI, "pydantic_ai_agent.py", V1, streams=False),
    _framework("LlamaIndex", LLAMAINDEX, "llamaindex_agent.py", CHAT, streams=False),
    _framework("smolagents", SMOLAGENTS, "smolagents_agent.py", V1, streams=False),
    _framework("Google ADK (LiteLLM)", GOOGLE_ADK, "google_adk_agent.py", CHAT, streams=False),
    _framework("AutoGen", AUTOGEN, "autogen_agent.py", CHAT, streams=False),
    _framework("AG2", AG2, "ag2_agent.py", CHAT, streams=False),
    _framework("Strands", STRANDS, "strands_agent.py", CHAT, streams=True),
    _framework("Microsoft Agent Framework", MICROSOFT, "agent_framework_agent.py", CHAT, streams=True),
    _framework("LiteLLM", LITELLM, "litellm_client.py", CHAT, streams=False),
    _framework("`ollama` for Python", CLIENTS, "ollama_client.py", CHAT, streams=True),
    _framework("`openai` for Python", CLIENTS, "openai_client.py", V1, streams=True),
    _framework("`anthropic` for Python", CLIENTS, "anthropic_client.py", "/v1/messages", streams=True),
    _framework("`ollama` for JavaScript", NODE, "ollama_node.mjs", CHAT, streams=True),
    _framework("`ollama/api` for Go", GO, "ollama_go/main.go", CHAT, streams=True),
)

ALL_ENVIRONMENTS = tuple(dict.fromkeys(framework.environment for framework in FRAMEWORKS))
