"""The live line on a terminal: what runs now, how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from pytest_llmperf.judge.metrics import series
from pytest_llmperf.model import Measurement, Verdict


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
        efficiency_pct = series(measurement, "efficiency_pct")[-1]
        scaling_pct = series(measurement, "scaling_efficiency_pct")[-1]
        so_far = ", ".join(f"{verdict.gate.marker} {verdict.outcome}" for verdict in verdicts)
        self.say(
            f"{measurement.scenario.name} on {measurement.topology.kind}: round {len(measurement.rounds)}: "
            f"balance {efficiency_pct:.1f} %, scaling {scaling_pct:.1f} %{'; ' + so_far if so_far else ''}"
        )
