"""How many rounds were contended, by the detector of the gate; and notes about the other detector."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.gate_kinds import DETECTORS
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Measurement

_RATE = "contention_rate_"
_MOST_SHARE = 0.5
"""A detector that no gate used gets a note if it reports a larger share of rounds as contended."""


def detector_of(metrics: Iterable[str]) -> str:
    """The detector whose rate a gate judged; `ttft` if no gate did, or gates judged both.

    Args:
        metrics: the metrics of the gates.
    """
    gated = set(metrics)
    return next((name for name in DETECTORS if _RATE + name in gated), DETECTORS[0])


def contended_words(record: Record) -> str:
    """`1 of 5`; `? of 5` if contention is not defined."""
    detector = detector_of(verdict.gate.metric for verdict in record.verdicts)
    count = _contended_rounds(record.measurement, detector)
    return f"{'?' if count is None else count} of {len(record.measurement.rounds)}"


def detector_notes(record: Record) -> list[str]:
    """Notes on detectors that no gate used and that report most rounds as contended, unlike the gate's detector."""
    gated = {verdict.gate.metric for verdict in record.verdicts}
    judged, rounds = detector_of(gated), len(record.measurement.rounds)
    if _RATE + judged not in gated:
        return []
    count = _contended_rounds(record.measurement, judged)
    notes = []
    for name in DETECTORS:
        seen = _contended_rounds(record.measurement, name)
        if _RATE + name in gated or seen is None or seen <= max(_MOST_SHARE * rounds, count or 0):
            continue
        notes.append(
            f"detector {name!r} found {seen} of {rounds} rounds contended; the gate used detector {judged!r} "
            f"({'not defined' if count is None else f'{count} of {rounds}'})"
        )
    return notes


def _contended_rounds(measurement: Measurement, detector: str) -> int | None:
    """The number of contended rounds; None if contention is not defined."""
    try:
        return round(sum(series(measurement, f"contended_{detector}")))
    except MeasurementError:
        return None
