"""The exception tree: every error a user can meet, each with its next step.

LlmperfError
├── UsageError          wrong option, marker, setting or file content: pytest ends with exit code 4
│   └── BaselineError   a baseline that is missing, torn, of another schema, or lacks what is asked of it
├── ServerError         an instance could not be found, started, loaded or kept alive
│   ├── MissingExtraError  a package of an extra is not installed
│   ├── ModelMissingError  the instance has no such model
│   ├── UnreachableError   nothing answers at its address
│   └── DegradedError      an instance is gone for good: what needs it is not measured any more
└── MeasurementError    a timed request failed: refused, reset, stalled, torn stream, error line
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_llmperf.masking import masked

MEMORY = "free memory on that machine, or ask for less: a smaller num_ctx, a smaller model, one instance"
"""The next step where a server has no memory for the model."""

_SHOWN = 200
_MARGIN = 20_000
"""Letters behind what is shown of a text that are looked at, too: a secret may begin before its end."""
_NO_MEMORY = re.compile("out of memory|more system memory|unable to allocate|insufficient memory", re.IGNORECASE)


def clean(text: str) -> str:
    """A text that may hold somebody else's, for a terminal: without secrets, control characters spelt out."""
    text = masked(text)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text)


def printable(text: str, *, most: int = _SHOWN) -> str:
    """Somebody else's text for an error: one line, at most `most` characters, all of which every terminal can print."""
    text = masked(text[: most + _MARGIN])
    short = text if len(text) <= most else f"{text[:most]}..."
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in short)


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`; did you mean 'urls'?`, if a known word is near, whatever its case; else empty.

    >>> did_you_mean("Embeded", ["embedded", "attach"]), did_you_mean("ray", ["threads"])
    ("; did you mean 'embedded'?", '')
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only where something is wrong

    words = {name.lower(): name for name in known}
    near = get_close_matches(str(word)[:40].strip().lower(), words, n=1)
    return f"; did you mean {words[near[0]]!r}?" if near else ""


def one_of(word: object, known: Iterable[str]) -> str:
    """`one of urls, backend; did you mean 'urls'?`: what was wanted in place of a word."""
    words = [str(name) for name in known if name]
    return f"one of {', '.join(words)}{did_you_mean(word, words)}"


def is_out_of_memory(message: str) -> bool:
    """Whether a server says that it lacks memory: asking again does not help."""
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
    """A wrong option, marker, setting or file content; found before anything is measured."""


class BaselineError(UsageError):
    """A baseline is missing, torn, of another schema version, or lacks what is asked of it."""


class ServerError(LlmperfError):
    """An instance could not be found, started, loaded or kept alive.

    Attributes:
        instance: name of the one that died; empty where none did, or nobody knows which.
    """

    instance = ""


class MissingExtraError(ServerError):
    """A package of one of our extras is not installed."""


class ModelMissingError(ServerError):
    """An instance does not have the model that was asked for."""


class UnreachableError(ServerError):
    """Nothing answers at an instance's address, or not in time."""


class DegradedError(ServerError):
    """An instance died for good; what needs as many instances is not measured in the rest of the session."""


class MeasurementError(LlmperfError):
    """A timed request failed; the bytes that had arrived are kept.

    Attributes:
        received: what the server had sent when it failed.
        passing: whether it may well succeed when it is sent again: then its round is repeated once.
    """

    def __init__(self, message: str, *, next_step: str = "", received: bytes = b"", passing: bool = False) -> None:
        super().__init__(message, next_step=next_step)
        self.received = received
        self.passing = passing
