"""What the harness itself cost, in a line for each way it ran."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.validity import client_cost_pp, client_cpu_share
from pytest_llmperf.model import Calibration, Measurement
from pytest_llmperf.report.figures import source_of

_SOURCES = {
    "kernel": "arrivals by the kernel's clock",
    "read": "arrivals by the time of the read",
    "kernel, read": "arrivals by the kernel's clock in some rounds, by the time of the read in others",
}


def client_lines(records: Sequence[Record]) -> list[str]:
    """Lines for each runtime and source of time that the records have, with the worst of their figures."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for record in records:
        measurement = record.measurement
        if source := source_of(measurement):
            groups.setdefault((measurement.manifest.facts.get("runtime", "?"), source), []).append(measurement)
    return [line for key, measurements in groups.items() for line in _lines(*key, measurements)]


def _lines(runtime: str, source: str, measurements: Sequence[Measurement]) -> list[str]:
    rounds = [one for measurement in measurements for one in measurement.rounds]
    cost_pp, share = max(map(client_cost_pp, rounds)), max(map(client_cpu_share, rounds))
    lines = [
        f"client: {runtime}, {_SOURCES[source]}; cost at most {cost_pp:.2f} pp of efficiency and {share:.3f} of a core"
    ]
    calibrations = [measurement.calibration for measurement in measurements if measurement.calibration is not None]
    return [*lines, *(f"  calibrated at {words}" for words in dict.fromkeys(map(_words, calibrations)))]


def _words(calibration: Calibration) -> str:
    """A calibration in a clause."""
    return (
        f"{calibration.agents} x {calibration.tok_s:.0f} tok/s: {calibration.cpu_us_per_token:.0f} us CPU a token, "
        f"arrivals {calibration.arrival_p99_ms:.2f} ms late (p99), bias {calibration.bias_pp:+.2f} pp"
    )
