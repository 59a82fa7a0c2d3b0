"""Agents: built-in agents, which send prompts, and external agents, which are callables or commands."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_llmperf.masking import masked_words
from pytest_llmperf.model.texts import check_texts
from pytest_llmperf.model.workload.generation_options import SERVER_DEFAULTS, GenerationOptions, Think, think_fault

MOST_TIMES = 1000
"""The largest bound of a loop."""

_DAY_S = 86_400.0

Pauses = float | tuple[float, ...]
"""Seconds, for each of an agent's requests: one number for all of them, or a number for each prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A loop: after the agent that has it, work starts again at an earlier agent.

    Every round runs all repetitions, so that every round does the same work.

    Attributes:
        back_to: the agent to start again at; the agents on the paths from it to the agent with the loop are repeated.
        times: total number of runs of these agents; 1 to 1000.
    """

    back_to: str
    times: int = 0

    def __post_init__(self) -> None:
        check_texts("loop: back_to", (self.back_to,))
        if isinstance(self.times, bool) or not isinstance(self.times, int) or not 1 <= self.times <= MOST_TIMES:
            raise ValueError(
                f"a loop back to {self.back_to!r} needs a bound: times is {self.times!r}, wanted 1 to {MOST_TIMES}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One sequential client: it sends its prompts one after the other.

    One prompt is a single inference (`/api/generate`); several are a conversation (`/api/chat`), each turn
    carrying the turns and answers before it.

    Attributes:
        name: a name that is unique within the scenario.
        prompts: one or more user turns.
        options: generation options, sent with every request.
        think: whether a model thinks before it answers, or how much; sent with every request. None leaves it to the
            server: Ollama lets every model think that can.
        after: names of the agents that must have ended before this one starts; empty: it starts at the barrier.
        loop: the work to repeat after it; None: none.
        think_s: how long it pauses before it sends a request, s: one number, or a number for each prompt.
        tool_s: how long its tools take after an answer, s: one number for every answer that is followed by another of
            its requests, or a number for each prompt; agents that come after this one wait for its last tool.
    """

    name: str
    prompts: tuple[str, ...]
    options: GenerationOptions = SERVER_DEFAULTS
    think: Think | None = None
    after: tuple[str, ...] = ()
    loop: Loop | None = None
    think_s: Pauses = 0.0
    tool_s: Pauses = 0.0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("an agent needs a name")
        if fault := think_fault(self.think):
            raise ValueError(f"agent {self.name!r}: {fault}")
        if isinstance(self.prompts, str) or not self.prompts:
            raise ValueError(f"agent {self.name!r} needs a tuple of one or more prompts, got {self.prompts!r}")
        check_texts("an agent's name", (self.name,))
        check_texts(f"agent {self.name!r}: a prompt", self.prompts)
        object.__setattr__(self, "after", _names(self.name, self.after))
        for field, pauses in (("think_s", self.think_s), ("tool_s", self.tool_s)):
            object.__setattr__(self, field, _pauses(f"agent {self.name!r}: {field}", pauses, len(self.prompts)))

    def with_options(self, laid: Mapping[str, Any]) -> Agent:
        """The agent with these options laid over its own; `think` is one of them here."""
        options = {name: value for name, value in laid.items() if name != "think"}
        return replace(self, options=replace(self.options, **options), think=laid.get("think", self.think))


Command = tuple[str, ...]
"""A program and its arguments; `{url}` in an argument is replaced with the agent's base address."""

AsyncAgent = Callable[[str], Awaitable[object]]
"""An async function that does an agent's work, given the agent's base address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAgent:
    """An external agent: the plugin gives it a base address and measures it on the wire.

    Attributes:
        name: a name that is unique within the scenario.
        run: an async callable that takes the base address, or a command (a list becomes a tuple). A command finds the
            address in `{url}` of an argument and in the environment's OLLAMA_HOST, LLMPERF_BASE_URL and (with `/v1`)
            OPENAI_BASE_URL, and the model's name in LLMPERF_MODEL. In a record that was read back, the qualified name
            of the callable.
        after: as for Agent: it is started when these agents have ended.
        team: the ExternalTeam whose program it is part of; empty: its program is its own.
    """

    name: str
    run: AsyncAgent | Command | str
    after: tuple[str, ...] = ()
    team: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("an agent needs a name")
        check_texts("an agent's name", (self.name, self.team))
        object.__setattr__(self, "after", _names(self.name, self.after))
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
                f"agent {self.name!r} needs an async function or a list of words (a command), got {kind_of(self.run)}"
            )

    def __repr__(self) -> str:
        after = f", after={self.after!r}" if self.after else ""
        after += f", team={self.team!r}" if self.team else ""
        return f"ExternalAgent(name={self.name!r}, run={self.stored!r}{after})"

    @property
    def options(self) -> GenerationOptions:
        """The options to load the model with: the server's defaults, because the agent's options are unknown."""
        return SERVER_DEFAULTS

    @property
    def stored(self) -> Command | str:
        """The form of `run` in records: the command without secrets, or the callable's qualified name."""
        if isinstance(self.run, tuple):
            return masked_words(self.run)
        return self.run if isinstance(self.run, str) else qualified_name(self.run)


def _names(agent: str, after: object) -> tuple[str, ...]:
    """The names that an agent comes after.

    Raises:
        ValueError: not a list of texts, or one of them twice.
    """
    if isinstance(after, str) or not isinstance(after, Sequence) or not all(isinstance(name, str) for name in after):
        raise ValueError(f"agent {agent!r}: after is {after!r}, wanted a tuple of agents' names, e.g. ('planner',)")
    check_texts(f"agent {agent!r}: after", after)
    if twice := [name for name in after if after.count(name) > 1]:
        raise ValueError(f"agent {agent!r}: after holds {twice[0]!r} twice, wanted each name once")
    return tuple(after)


def _pauses(field: str, pauses: object, prompts: int) -> Pauses:
    """The pauses of an agent with this many prompts; a list becomes a tuple.

    Raises:
        ValueError: not numbers from 0 to a day, or another count than that of the prompts.
    """
    several = isinstance(pauses, Sequence) and not isinstance(pauses, str)
    given = tuple(pauses) if isinstance(pauses, Sequence) and several else (pauses,)
    numbers = [each for each in given if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) < len(given) or not all(math.isfinite(each) and 0 <= each <= _DAY_S for each in numbers):
        raise ValueError(f"{field} is {pauses!r}, wanted seconds from 0 to {_DAY_S:.0f}: a number, or one a prompt")
    if several and len(numbers) != prompts:
        raise ValueError(f"{field} has {len(numbers)} numbers for {prompts} prompts, wanted a number for each prompt")
    return tuple(map(float, numbers)) if several else float(numbers[0])


def kind_of(given: object) -> str:
    """The kind of a value, without its content, which may have a secret."""
    if inspect.isfunction(given):
        return f"the plain function {given.__name__}"
    if given is None:
        return "None"
    return "a text" if isinstance(given, str) else f"a value of type {type(given).__name__}"


def _may_be_async(run: object) -> bool:
    """Whether calling it may return an awaitable: a plain function does not, but a lambda or an object may."""
    plain = inspect.isfunction(run) and run.__name__ != "<lambda>"
    return callable(run) and (not plain or inspect.iscoroutinefunction(inspect.unwrap(run)))


def qualified_name(run: object) -> str:
    """Module and name of a callable, or of its type."""
    run = getattr(run, "func", run)  # of a functools.partial
    named = run if hasattr(run, "__qualname__") else type(run)
    return f"{named.__module__}.{named.__qualname__}"
