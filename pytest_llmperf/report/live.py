"""The live line on a terminal: what runs now, how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pytest_llmperf.judge.metrics import all_series
from pytest_llmperf.model import Measurement, Verdict

_SHOWN = {"balance": "efficiency_pct", "scaling": "scaling_efficiency_pct"}


class Live:
    """A watcher that keeps one line of the terminal up to date.

    Args:
        reporter: pytest's terminal reporter, or None to show nothing.
        capture: pytest's capture manager, or None.
    """

    def __init__(self, reporter: Any, capture: Any) -> None:
        self._reporter = reporter
        self._capture = capture
        self._prefix: str | None = None

    def say(self, text: str) -> None:
        """Shows it behind what pytest has written of the test, in place of what was shown there before."""
        if self._reporter is None:
            return
        writer = self._reporter._tw
        if self._prefix is None:
            self._prefix = writer._current_line
        with self._uncaptured():
            line = f"{self._prefix} {text}"[: writer.fullwidth - 4]  # room for the ^C that a terminal echoes
            self._reporter.rewrite(line, erase=True)
            self._reporter.rewrite(line)

    def done(self) -> None:
        """Clears it; pytest goes on where it stood."""
        if self._prefix is None:
            return
        with self._uncaptured():
            self._reporter.rewrite(self._prefix, erase=True)
            self._reporter.rewrite(self._prefix)
        self._reporter._tw._current_line = self._prefix  # what pytest counts its columns by
        self._prefix = None

    def round_done(self, measurement: Measurement, verdicts: Sequence[Verdict]) -> None:
        """Shows the round just ended, and the verdicts so far."""
        if self._reporter is None:
            return
        values = all_series(measurement)
        figures = [f"{word} {values[name][-1]:.1f} %" for word, name in _SHOWN.items() if name in values]
        so_far = ", ".join(f"{verdict.gate.marker} {verdict.outcome}" for verdict in verdicts)
        self.say(
            f"{measurement.scenario.name} on {measurement.topology.kind}: round {len(measurement.rounds)}: "
            f"{', '.join(figures)}{'; ' + so_far if so_far else ''}"
        )

    def _uncaptured(self) -> AbstractContextManager[None]:
        """Pytest's capturing is off inside."""
        if self._capture is None:
            return nullcontext()
        manager: AbstractContextManager[None] = self._capture.global_and_fixture_disabled()
        return manager
