"""A measurement that grows while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_llmperf.judge.metrics.slot_use import looked_at
from pytest_llmperf.model import Measurement, RequestTiming, Round


class MeasurementBuilder:
    """Builds a frozen Measurement step by step.

    Args:
        measurement: the measurement without rounds.

    Attributes:
        measurement: the measurement built so far.
    """

    def __init__(self, measurement: Measurement) -> None:
        self.measurement = measurement

    def set(self, **fields: Any) -> None:
        """Set fields of the measurement, by name."""
        self.measurement = replace(self.measurement, **fields)

    def add_round(self, round_: Round) -> None:
        """Add a round that counts, and what its requests tell about the slots of a shared instance."""
        self.add_concurrent([request for run in round_.together for request in run.requests])
        self.set(rounds=(*self.measurement.rounds, round_))

    def add_discarded(self, round_: Round) -> None:
        """Add a round that does not count."""
        self.set(discarded=(*self.measurement.discarded, round_))

    def add_concurrent(self, requests: Sequence[RequestTiming]) -> None:
        """Add what requests that were sent at once tell about the slots of a shared instance."""
        self.measurement = looked_at(self.measurement, requests)

    def add_note(self, *notes: str) -> None:
        """Add notes for the reader."""
        self.set(notes=(*self.measurement.notes, *notes))
