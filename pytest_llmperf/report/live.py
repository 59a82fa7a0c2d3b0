"""The live line on a terminal: what runs now, how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
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

    def say(self, text: str) -> None:
        """Replaces the line."""
        if self._reporter is None:
            return
        quiet = self._capture.global_and_fixture_disabled() if self._capture is not None else nullcontext()
        with quiet:
            self._reporter.rewrite(f"  llmperf: {text}", erase=True)

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
