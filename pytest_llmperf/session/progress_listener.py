"""Who is told what happens while a session works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pytest_llmperf.model import Measurement, Verdict


class ProgressListener(Protocol):
    """Is told what happens, for a live display."""

    def say(self, text: str) -> None:
        """Something that takes time has begun."""

    def note(self, text: str) -> None:
        """Something that a reader must know before it all ends."""

    def round_done(
        self, measurement: Measurement, verdicts: Sequence[Verdict], *, gates: int | None = None, of: str = ""
    ) -> None:
        """A round has ended; the measurement holds all rounds so far.

        Args:
            measurement: so far.
            verdicts: so far; none before the fewest rounds.
            gates: how many are to be judged; None: nothing is known of how many rounds there will be.
            of: what the measurement is a part of, and how far that is; else empty.
        """

    def done(self) -> None:
        """Nothing goes on any more."""


def step(listener: ProgressListener, text: str) -> None:
    """Something has begun that may take long: waiting for the machine, starting servers, loading a model.

    A listener that has a method `step` is told by that, so that it can write a line where nothing else would show for
    minutes; another one by `say`.
    """
    getattr(listener, "step", listener.say)(text)


class SilentListener:
    """A listener that shows nothing."""

    def say(self, text: str) -> None:
        """Shows nothing."""

    def note(self, text: str) -> None:
        """Shows nothing."""

    def round_done(
        self, measurement: Measurement, verdicts: Sequence[Verdict], *, gates: int | None = None, of: str = ""
    ) -> None:
        """Shows nothing."""

    def done(self) -> None:
        """Shows nothing."""
