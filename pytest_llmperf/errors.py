"""The exception tree: every error a user can meet, each with its next step.

LlmperfError
├── UsageError          wrong option, marker, setting or file content: pytest ends with exit code 4
│   └── BaselineError   a baseline that is missing, torn, of another schema, or lacks what is asked of it
├── ServerError         an instance could not be found, started, loaded or kept alive
│   ├── MissingExtraError  a package of an extra is not installed
│   └── ModelMissingError  the instance has no such model
└── MeasurementError    a timed request failed: refused, reset, stalled, torn stream, error line
"""

from __future__ import annotations


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
        return f"{message}\n  next: {self.next_step}" if self.next_step else message


class UsageError(LlmperfError):
    """A wrong option, marker, setting or file content; found before anything is measured."""


class BaselineError(UsageError):
    """A baseline is missing, torn, of another schema version, or lacks what is asked of it."""


class ServerError(LlmperfError):
    """An instance could not be found, started, loaded or kept alive."""


class MissingExtraError(ServerError):
    """A package of one of our extras is not installed."""


class ModelMissingError(ServerError):
    """An instance does not have the model that was asked for."""


class MeasurementError(LlmperfError):
    """A timed request failed; the bytes that had arrived are kept.

    Attributes:
        received: what the server had sent when it failed.
    """

    def __init__(self, message: str, *, next_step: str = "", received: bytes = b"") -> None:
        super().__init__(message, next_step=next_step)
        self.received = received
