"""What the harness itself cost, in a line for each way it ran."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.judge.diagnosis.client_saturation import client_cost_pp, client_cpu_share
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Calibration, Measurement
from pytest_llmperf.report.figures import source_of

_SOURCES = {
    "kernel": "kernel's clock",
    "read": "times of the reads",
    "kernel, read": "kernel's clock in some rounds, times of the reads in others",
}


def client_lines(records: Sequence[Record], *, calibrated: bool = True) -> list[str]:
    """A line for each runtime and source of time that the records have, with the worst of their figures.

    Args:
        records: of the run.
        calibrated: say what the calibrations found as well.
    """
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for record in records:
        measurement = record.measurement
        if source := source_of(measurement):
            groups.setdefault((measurement.manifest.facts.get("runtime", "?"), source), []).append(measurement)
    return [line for key, found in groups.items() for line in _lines(*key, found, calibrated=calibrated)]


def _lines(runtime: str, source: str, measurements: Sequence[Measurement], *, calibrated: bool) -> list[str]:
    rounds = [one for measurement in measurements for one in measurement.rounds]
    cost_pp, share = max(map(client_cost_pp, rounds)), max(map(client_cpu_share, rounds))
    lines = [
        f"client: {runtime}, {_SOURCES[source]}; cost at most {cost_pp:.2f} pp of efficiency, {share:.3f} of a core"
    ]
    calibrations = [one.calibration for one in measurements if calibrated and one.calibration is not None]
    return [*lines, *(f"  calibrated at {words}" for words in dict.fromkeys(map(_words, calibrations)))]


def _words(calibration: Calibration) -> str:
    """A calibration in a clause."""
    return (
        f"{calibration.agents} x {calibration.tok_s:.0f} tok/s: {calibration.cpu_us_per_token:.0f} us CPU a token, "
        f"arrivals {calibration.arrival_p99_ms:.2f} ms late (p99), bias {calibration.bias_pp:+.2f} pp"
    )
