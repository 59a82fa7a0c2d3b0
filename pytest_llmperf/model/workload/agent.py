"""Agents: ours, which send prompts, and external ones, which are a callable or a command."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_llmperf.masking import masked_words
from pytest_llmperf.model.texts import check_texts
from pytest_llmperf.model.workload.generation_options import SERVER_DEFAULTS, GenerationOptions, Think, think_fault


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
    options: GenerationOptions = SERVER_DEFAULTS
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
    """An external agent: it is given a base address, and measured on the wire.

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
                f"agent {self.name!r} needs an async function or a list of words (a command), got {kind_of(self.run)}"
            )

    def __repr__(self) -> str:
        return f"ExternalAgent(name={self.name!r}, run={self.stored!r})"

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
