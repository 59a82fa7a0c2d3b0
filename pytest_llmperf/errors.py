"""The exception tree: every error that a user can see, each with its next step.

LlmperfError
├── UsageError          wrong option, marker, setting or file content: pytest ends with exit code 4
│   └── BaselineError   a baseline is missing, damaged, has an unknown schema, or lacks an entry that a test needs
├── ServerError         an instance could not be found, started, loaded or kept alive
│   ├── MissingExtraError  a package of an extra is not installed
│   ├── ModelMissingError  the instance does not have the model
│   ├── UnreachableError   nothing answers at the instance's address
│   └── DegradedError      an instance died permanently: tests that need it are no longer measured
└── MeasurementError    a timed request failed: refused, reset, stalled, torn stream, error line
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_llmperf.masking import masked

MEMORY = "free memory on that machine, or ask for less: a smaller num_ctx, a smaller model, one instance"
"""The next step if a server lacks memory for the model."""

_SHOWN = 200
_MARGIN = 20_000
"""Characters after the shown part of a text that are masked, too: a secret may cross the cut."""
_NO_MEMORY = re.compile("out of memory|more system memory|unable to allocate|insufficient memory", re.IGNORECASE)


def clean(text: str) -> str:
    """A text for a terminal that may quote somebody else's: without secrets, control characters escaped."""
    text = masked(text)
    if text.isprintable():
        return text
    return "".join(char if char in "\n\t" else _escaped(char) for char in text)


def printable(text: str, *, most: int = _SHOWN) -> str:
    """Somebody else's text for an error: one line of at most `most` characters, control characters escaped."""
    text = masked(text[: most + _MARGIN])
    short = text if len(text) <= most else f"{text[:most]}..."
    return "".join(map(_escaped, short))


def _escaped(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`; did you mean 'urls'?` if a known word is similar, ignoring case; else empty.

    >>> did_you_mean("Embeded", ["embedded", "attach"]), did_you_mean("ray", ["threads"])
    ("; did you mean 'embedded'?", '')
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only where something is wrong

    words = {name.lower(): name for name in known}
    near = get_close_matches(str(word)[:40].strip().lower(), words, n=1)
    return f"; did you mean {words[near[0]]!r}?" if near else ""


def one_of(word: object, known: Iterable[str]) -> str:
    """`one of urls, backend; did you mean 'urls'?`: the accepted words, for the error about an unknown word."""
    words = [str(name) for name in known if name]
    return f"one of {', '.join(words)}{did_you_mean(word, words)}"


def is_out_of_memory(message: str) -> bool:
    """Whether a server's error says that it lacks memory; a repeated request would fail, too."""
    return bool(_NO_MEMORY.search(message))


class LlmperfError(Exception):
    """Base of all errors of this plugin: what happened, and what to do next.

    Attributes:
        next_step: a sentence or command that helps, or an empty string.
    """

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step

    def __str__(self) -> str:
        message = super().__str__()
        return clean(f"{message}\n  next: {self.next_step}" if self.next_step else message)

    def __repr__(self) -> str:
        return masked(super().__repr__())


class UsageError(LlmperfError):
    """A wrong option, marker, setting or file content; raised before anything is measured."""


class BaselineError(UsageError):
    """A baseline is missing, damaged, has an unknown schema version, or lacks an entry that a test needs."""


class ServerError(LlmperfError):
    """An instance could not be found, started, loaded or kept alive.

    Attributes:
        instance: name of the instance that died; empty if none died or the name is unknown.
    """

    instance = ""


class MissingExtraError(ServerError):
    """A package of one of the plugin's extras is not installed."""


class ModelMissingError(ServerError):
    """An instance does not have the requested model."""


class UnreachableError(ServerError):
    """Nothing answers at an instance's address within the time limit."""


class DegradedError(ServerError):
    """An instance died permanently; tests that need more instances than are left are not measured in this session."""


class MeasurementError(LlmperfError):
    """A timed request failed; the bytes that had arrived are kept.

    Attributes:
        received: what the server had sent when it failed.
        passing: whether the failure may be temporary; then the round is repeated once.
    """

    def __init__(self, message: str, *, next_step: str = "", received: bytes = b"", passing: bool = False) -> None:
        super().__init__(message, next_step=next_step)
        self.received = received
        self.passing = passing
