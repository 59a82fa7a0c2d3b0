"""The progress of a sweep and its remaining time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import fmean

from pytest_llmperf.model import Measurement, Verdict
from pytest_llmperf.session.progress_listener import ProgressListener


class Progress:
    """A listener that prefixes every message with the cell and the time left.

    Args:
        inner: receives the progress.
        name: the name of the experiment.
        total: the total number of cells.
        took_s: the durations of the cells that an earlier run has finished.
        clock: time in seconds.
    """

    def __init__(
        self,
        inner: ProgressListener,
        name: str,
        total: int,
        took_s: Sequence[float] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._name = name
        self.total = total
        self._took_s = list(took_s)
        self._clock = clock
        self._cell = ""
        self._begun = len(took_s)
        self._began_s: float | None = None

    @property
    def left_s(self) -> float | None:
        """The remaining time, from the mean of the cells so far; None before the first."""
        if not self._took_s:
            return None
        mean_s, later = fmean(self._took_s), self.total - self._begun
        now_s = 0.0 if self._began_s is None else mean_s - (self._clock() - self._began_s)
        return max(0.0, later * mean_s + now_s)

    def begin(self, cell: str) -> None:
        """A cell begins."""
        self._cell, self._began_s = cell, self._clock()
        self._begun += 1

    def end(self, took_s: float) -> None:
        """A cell has ended."""
        self._took_s.append(took_s)
        self._began_s = None

    def skip(self) -> None:
        """A cell cannot be measured here."""
        self.total -= 1
        self._begun -= 1
        self._began_s = None

    def say(self, text: str) -> None:
        """Passes it on, with the position in the sweep."""
        self._inner.say(f"{self._where()}: {text}")

    def step(self, text: str) -> None:
        """Passes it on, with the position in the sweep."""
        self._inner.step(f"{self._where()}: {text}")

    def round_done(
        self, measurement: Measurement, verdicts: Sequence[Verdict], *, gates: int | None = None, of: str = ""
    ) -> None:
        """Passes it on, with the position in the sweep."""
        self._inner.round_done(measurement, verdicts, gates=gates, of=of or self._where())

    def note(self, text: str) -> None:
        """Passes it on."""
        self._inner.note(text)

    def done(self) -> None:
        """Passes it on."""
        self._inner.done()

    def _where(self) -> str:
        return f"{self._name} {self._begun}/{self.total}, {_in_words(self.left_s)} left: {self._cell}"


def _in_words(seconds: float | None) -> str:
    """A duration in words.

    >>> _in_words(None), _in_words(59), _in_words(150)
    ('unknown time', 'about 1 min', 'about 3 min')
    """
    if seconds is None:
        return "unknown time"
    return f"about {max(1, round(seconds / 60))} min" if seconds >= 30 else "under 1 min"
