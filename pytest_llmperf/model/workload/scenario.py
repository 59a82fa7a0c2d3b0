"""What agents do: generation options, agents, scenarios and the three scenarios of the report."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import Any

from pytest_llmperf.masking import masked_words
from pytest_llmperf.model.texts import check_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """Options of one request, by Ollama's names; None leaves the server's default in force.

    Attributes:
        num_ctx: context window, tokens.
        num_predict: most tokens to generate.
        seed: of the sampler.
        temperature: of the sampler; 0 is greedy.
        top_k: candidates kept.
        top_p: probability mass kept.
        stop: texts that end the answer.
        num_thread: CPU threads of the engine.
        num_gpu: layers on the GPU.
    """

    num_ctx: int | None = None
    num_predict: int | None = None
    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] | None = None
    num_thread: int | None = None
    num_gpu: int | None = None

    def __post_init__(self) -> None:
        check_texts("stop: a text", self.stop or ())

    def as_request(self) -> dict[str, object]:
        """The `options` object of a request: only what is set."""
        return {key: value for key, value in asdict(self).items() if value is not None}


OLLAMA_ONLY = ("num_ctx", "num_thread", "num_gpu")
"""Options that an OpenAI-compatible API has no name for: there they are the server's own affair, and never sent."""


Think = bool | str
"""Whether a model thinks before it answers, or how much: one of LEVELS."""

LEVELS = ("low", "medium", "high", "max")
"""How much a model may think, where it knows levels."""


def think_fault(think: object) -> str:
    """What is wrong with a value of `think`; empty if nothing is.

    >>> think_fault(False), think_fault("high"), think_fault("much")
    ('', '', "think is 'much', wanted true, false, low, medium, high or max")
    """
    if think is None or isinstance(think, bool) or think in LEVELS:
        return ""
    return f"think is {think!r}, wanted true, false, {', '.join(LEVELS[:-1])} or {LEVELS[-1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One sequential client: it sends its prompts one after the other.

    One prompt is a single inference (`/api/generate`); several are a conversation (`/api/chat`), each turn
    carrying the turns and answers before it.

    Attributes:
        name: unique within the scenario.
        prompts: one or more user turns.
        options: sent with every request.
        think: whether a model thinks before it answers, or how much; sent with every request. None leaves it to the
            server: an Ollama lets every model think that can.
    """

    name: str
    prompts: tuple[str, ...]
    options: GenerationOptions = GenerationOptions()
    think: Think | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("an agent needs a name")
        if fault := think_fault(self.think):
            raise ValueError(f"agent {self.name!r}: {fault}")
        if isinstance(self.prompts, str) or not self.prompts:
            raise ValueError(f"agent {self.name!r} needs a tuple of one or more prompts, got {self.prompts!r}")
        check_texts("an agent's name", (self.name,))
        check_texts(f"agent {self.name!r}: a prompt", self.prompts)

    def with_options(self, laid: Mapping[str, Any]) -> Agent:
        """The agent with these options laid over its own; `think` is one of them here."""
        options = {name: value for name, value in laid.items() if name != "think"}
        return replace(self, options=replace(self.options, **options), think=laid.get("think", self.think))


Command = tuple[str, ...]
"""A program and its arguments; `{url}` in an argument stands for the agent's base address."""

AsyncAgent = Callable[[str], Awaitable[object]]
"""An async function that does an agent's work, given the agent's base address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAgent:
    """An agent that we did not write: it is given a base address, and measured on the wire.

    Attributes:
        name: unique within the scenario.
        run: an async callable that takes the base address, or a command (a list becomes a tuple). A command finds the
            address in `{url}` of an argument and in the environment's OLLAMA_HOST, LLMPERF_BASE_URL and (with `/v1`)
            OPENAI_BASE_URL, and the model's name in LLMPERF_MODEL. In a record that was read back, the qualified name
            of the callable.
    """

    name: str
    run: AsyncAgent | Command | str

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("an agent needs a name")
        check_texts("an agent's name", (self.name,))
        if isinstance(self.run, list):
            object.__setattr__(self, "run", tuple(self.run))  # natural to write; the value stays frozen
        if isinstance(self.run, tuple):
            if not self.run or not all(isinstance(word, str) for word in self.run):
                kinds = ", ".join(type(word).__name__ for word in self.run) or "none"
                raise ValueError(f"agent {self.name!r} needs a command of one or more words, got {kinds}")
            if any("\0" in word for word in self.run):
                raise ValueError(f"agent {self.name!r}: a word of its command holds the character NUL")
        elif not isinstance(self.run, str) and not _may_be_async(self.run):
            raise ValueError(
                f"agent {self.name!r} needs an async function or a list of words (a command), got {_kind_of(self.run)}"
            )

    def __repr__(self) -> str:
        return f"ExternalAgent(name={self.name!r}, run={self.stored!r})"

    @property
    def options(self) -> GenerationOptions:
        """What the model is loaded with: the server's defaults, since nobody knows what the agent will ask for."""
        return GenerationOptions()

    @property
    def stored(self) -> Command | str:
        """What stands for `run` in records: the command without secrets, or the callable's qualified name."""
        if isinstance(self.run, tuple):
            return masked_words(self.run)
        return self.run if isinstance(self.run, str) else _qualified_name(self.run)


def _kind_of(given: object) -> str:
    """What was given, without its content, which may hold a secret."""
    if inspect.isfunction(given):
        return f"the plain function {given.__name__}"
    if given is None:
        return "None"
    return "a text" if isinstance(given, str) else f"a value of type {type(given).__name__}"


def _may_be_async(run: object) -> bool:
    """Whether it is worth calling: a plain function gives no awaitable, but a lambda or an object may."""
    plain = inspect.isfunction(run) and run.__name__ != "<lambda>"
    return callable(run) and (not plain or inspect.iscoroutinefunction(inspect.unwrap(run)))


def _qualified_name(run: object) -> str:
    run = getattr(run, "func", run)  # of a functools.partial
    named = run if hasattr(run, "__qualname__") else type(run)
    return f"{named.__module__}.{named.__qualname__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Generation options that a baseline lays over a scenario's, so that a small machine can run it.

    Attributes:
        reason: why; shown wherever the scaled scenario is.
        num_ctx, num_predict, temperature, num_gpu, num_thread: replace the agents' own where not None.
    """

    reason: str
    num_ctx: int | None = None
    num_predict: int | None = None
    temperature: float | None = None
    num_gpu: int | None = None
    num_thread: int | None = None

    def overrides(self) -> dict[str, object]:
        """The options that it replaces, by name."""
        values = asdict(self)
        values.pop("reason")
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What N agents do together.

    Attributes:
        name: unique; results and baselines are stored under it.
        agents: one or more, with distinct names.
        source: where its parameters come from.
        scaled_by: what a baseline's workload changed, in words; empty when nothing.
        fixed: options that no baseline's workload changes, because they are what an experiment varies.
    """

    name: str
    agents: tuple[Agent | ExternalAgent, ...]
    source: str = ""
    scaled_by: str = ""
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_texts("a scenario's name", (self.name,))
        check_texts(f"scenario {self.name!r}: its source", (self.source,))
        if not self.agents:
            raise ValueError(f"scenario {self.name!r} needs at least one agent")
        names = [agent.name for agent in self.agents]
        if len(set(names)) != len(names):
            raise ValueError(f"scenario {self.name!r} has two agents of one name: {names}")

    @property
    def external(self) -> bool:
        """Whether some agent is one that we did not write."""
        return any(isinstance(agent, ExternalAgent) for agent in self.agents)

    def scaled(self, workload: Workload | None) -> Scenario:
        """This scenario with the workload's options laid over each agent's but those that are fixed, and saying so.

        Agents that we did not write send what they send.
        """
        ours = any(isinstance(agent, Agent) for agent in self.agents)
        overrides = workload.overrides() if workload is not None else {}
        overrides = {key: value for key, value in overrides.items() if key not in self.fixed}
        if workload is None or not overrides or not ours:
            return self
        agents = tuple(
            replace(agent, options=replace(agent.options, **overrides))  # type: ignore[arg-type]
            if isinstance(agent, Agent)
            else agent
            for agent in self.agents
        )
        words = ", ".join(f"{key}={value}" for key, value in overrides.items())
        scaled_by = "; ".join(part for part in (self.scaled_by, f"{words} ({workload.reason})") if part)
        return replace(self, agents=agents, scaled_by=scaled_by)


def scenario_of(agents: Sequence[Agent | ExternalAgent | AsyncAgent | Sequence[str]], *, name: str) -> Scenario:
    """A scenario of agents, async callables and commands, each named after its function, script or program.

    >>> [agent.name for agent in scenario_of([["node", "critic.mjs"], ["curl", "-s"], ["curl"]], name="x").agents]
    ['critic', 'curl', 'curl_2']
    >>> [agent.name for agent in scenario_of([["python3", "-u", "a.py"], ["python3", "-m", "team.b"]], name="x").agents]
    ['a', 'b']

    Raises:
        ValueError: an agent is none of these, or there is none.
    """
    if isinstance(agents, str) or not isinstance(agents, Sequence):
        raise ValueError(f"wanted a scenario or a list of agents, got {_kind_of(agents)}")
    made: list[Agent | ExternalAgent] = []
    taken = {"together"}  # the name of the part with all of them
    for one in agents:
        if isinstance(one, Agent | ExternalAgent):
            made.append(one)
        else:
            if isinstance(one, str):
                raise ValueError("a command is a list of words of its own, got a text")
            run = tuple(one) if isinstance(one, Sequence) else one
            made.append(ExternalAgent(name=_unique(_short_name(run), taken), run=run))
        taken.add(made[-1].name)
    return Scenario(name=name, agents=tuple(made))


_SCRIPTS = frozenset((".py", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".mts", ".sh", ".rb", ".pl", ".php", ".lua", ".jar"))
"""What a command's script may end in, wherever it stands among the words."""

_RUN_MODULES = ("python", "pypy")
"""How the names of programs begin that run a module by `-m`."""


def _short_name(run: AsyncAgent | Command) -> str:
    if not isinstance(run, tuple):
        return _qualified_name(run).rpartition(".")[2].strip("<>")
    words = [word if isinstance(word, str) else "" for word in run]
    masked = masked_words(words)
    for index, word in enumerate(words[1:], 1):
        script = _script_of(words, index)
        if script and masked[index] == word and masked_words([word]) == (word,):  # `--token a.py`, `env API_KEY=a.b x`
            return PurePath(script).stem
    return PurePath(words[0]).stem if words else ""


def _script_of(words: Sequence[str], index: int) -> str:
    """The script that a word of a command names; empty where it is none."""
    word, suffix = words[index], PurePath(words[index]).suffix
    if words[index - 1] == "-m" and any(PurePath(before).name.startswith(_RUN_MODULES) for before in words[:index]):
        return f"{word.removesuffix('.__main__').rpartition('.')[2]}.py"
    if word.startswith("-"):
        return ""
    return word if suffix in _SCRIPTS or (suffix and index == 1) else ""


def _unique(name: str, taken: set[str]) -> str:
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free


# Both end in mid-sentence, so that no model stops before it has begun, and both ask for more than num_predict tokens.
_COLLECT = (
    "You collect data for a team that measures how several agents share one server. Describe at length what was "
    "measured, in which order, and what looked unusual. The report begins: On the first day we started two agents on "
    "one server, and the second agent had to wait, because the"
)
_INSIGHT = (
    "You explain measurements to engineers. Explain at length, with several examples, why agents that share a server "
    "wait for each other, and how to measure it without being fooled by noise. The explanation begins: Think of a "
    "small shop with a single till, where every customer who comes in has to"
)


def _options(
    *, num_gpu: int | None = None, num_ctx: int | None = None, temperature: float | None = None
) -> GenerationOptions:
    return GenerationOptions(num_gpu=num_gpu, num_ctx=num_ctx, temperature=temperature, num_predict=96, seed=42)


BASELINE_VS_CHIMERA = Scenario(
    name="baseline_vs_chimera",
    agents=(
        Agent(name="collector", prompts=(_COLLECT,), options=_options()),
        Agent(name="insight", prompts=(_INSIGHT,), options=_options(num_gpu=80, num_ctx=2048, temperature=1.0)),
    ),
    source="seed 3.5; collector with Ollama's defaults, insight as 8.5 multi-agent and TR110 test 202",
)
"""One agent with the server's defaults, one with tuned ("Chimera") options."""

CHIMERA_HETERO = Scenario(
    name="chimera_hetero",
    agents=(
        Agent(name="collector", prompts=(_COLLECT,), options=_options(num_gpu=120, num_ctx=512, temperature=0.8)),
        Agent(name="insight", prompts=(_INSIGHT,), options=_options(num_gpu=140, num_ctx=1024, temperature=0.8)),
    ),
    source="seed 3.5; layers and contexts of TR114_v2 test011, temperature of 8.5",
)
"""Both agents tuned, with different values."""

CHIMERA_HOMO = Scenario(
    name="chimera_homo",
    agents=(
        Agent(name="collector", prompts=(_COLLECT,), options=_options(num_gpu=80, num_ctx=2048, temperature=1.0)),
        Agent(name="insight", prompts=(_COLLECT,), options=_options(num_gpu=80, num_ctx=2048, temperature=1.0)),
    ),
    source="seed 3.5, 8.5 multi-agent; TR110 test 108",
)
"""Both agents tuned alike and doing the same work: the peak of parallel efficiency."""

CONVERSATION = Scenario(
    name="conversation",
    agents=tuple(
        Agent(
            name=name,
            prompts=(
                "Describe in a few sentences how a web server answers a request.",
                "Now explain what changes when two requests arrive at once.",
                "Summarise both answers in one paragraph.",
            ),
            options=_options(num_gpu=80, num_ctx=2048, temperature=0.8),
        )
        for name in ("collector", "insight")
    ),
    source="seed 3.5 scenario 2, shortened to three turns; options of 8.5 multi-agent",
)
"""Two agents, each holding a short conversation of three turns."""
