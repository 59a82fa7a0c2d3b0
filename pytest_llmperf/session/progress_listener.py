"""The interface that a session reports its progress to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pytest_llmperf.model import Measurement, Verdict


class ProgressListener(Protocol):
    """Receives the progress of a session, for a live display."""

    def say(self, text: str) -> None:
        """A step that takes time has begun."""

    def step(self, text: str) -> None:
        """A step that may take minutes has begun: waiting for the machine, starting servers, loading a model."""
        self.say(text)

    def note(self, text: str) -> None:
        """A note that the reader needs before the session ends."""

    def round_done(
        self, measurement: Measurement, verdicts: Sequence[Verdict], *, gates: int | None = None, of: str = ""
    ) -> None:
        """A round has ended.

        Args:
            measurement: the measurement with all rounds so far.
            verdicts: the verdicts so far; empty before the minimum number of rounds.
            gates: number of gates that will be judged; None: the number of rounds is not bounded.
            of: the larger task that the measurement is a part of, and its progress; else empty.
        """

    def done(self) -> None:
        """The work has ended."""


class SilentListener(ProgressListener):
    """A listener that shows nothing; a base class for listeners that need some of the methods only."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def round_done(
        self, measurement: Measurement, verdicts: Sequence[Verdict], *, gates: int | None = None, of: str = ""
    ) -> None:
        """Show nothing."""

    def done(self) -> None:
        """Show nothing."""
