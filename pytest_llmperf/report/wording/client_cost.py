"""The client overhead, one line per runtime and timestamp source."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.judge.diagnosis.client_saturation import client_cost_pp, client_cpu_share
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Calibration, Measurement, Round
from pytest_llmperf.report.figures import source_of

_SOURCES = {
    "kernel": "kernel timestamps",
    "read": "read times",
    "kernel, read": "kernel timestamps in some rounds, read times in others",
}


def client_lines(records: Sequence[Record], *, calibrated: bool = True) -> list[str]:
    """One line per runtime and timestamp source, with the highest overhead of any round.

    Args:
        records: the records of the run.
        calibrated: add the results of the calibrations.
    """
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for record in records:
        measurement = record.measurement
        if source := source_of(measurement):
            groups.setdefault((measurement.manifest.facts.get("runtime", "?"), source), []).append(measurement)
    return [line for key, group in groups.items() for line in _lines(*key, group, calibrated=calibrated)]


def _lines(runtime: str, source: str, measurements: Sequence[Measurement], *, calibrated: bool) -> list[str]:
    rounds = [round_ for measurement in measurements for round_ in measurement.rounds]
    cost_pp, share = max(map(client_cost_pp, rounds)), max(map(client_cpu_share, rounds))
    lines = [
        f"client overhead: at most {cost_pp:.2f} pp of efficiency, {share:.3f} CPU cores "
        f"(runtime {runtime}, {_SOURCES[source]}){_clock_words(rounds)}"
    ]
    calibrations = [
        measurement.calibration for measurement in measurements if calibrated and measurement.calibration is not None
    ]
    return [*lines, *(f"  calibrated at {words}" for words in dict.fromkeys(map(_words, calibrations)))]


def _clock_words(rounds: Sequence[Round]) -> str:
    """How well the hosts' clocks were known in the worst round; empty if all agents ran on one host."""
    bounds_ns = [round_.clock_bound_ns for round_ in rounds if round_.clock_bound_ns is not None]
    return f"; the hosts' clocks known to {max(bounds_ns) / 1e3:.0f} us" if bounds_ns else ""


def _words(calibration: Calibration) -> str:
    """A calibration in words."""
    return (
        f"{calibration.agents} x {calibration.tok_s:.0f} tok/s: "
        f"{calibration.cpu_us_per_token:.0f} us of CPU per token, "
        f"arrivals {calibration.arrival_p99_ms:.2f} ms late (p99), bias {calibration.bias_pp:+.2f} pp"
    )
