"""The metrics of the machine: peaks by round, and why one cannot be observed."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_llmperf.model import Gate, Measurement, Sample, Telemetry


def peaks(measurement: Measurement, metric: str) -> tuple[float, ...]:
    """The largest value of each round of what is observed of the machine.

    A round without a sample of its own (of a long run, not every round has one) has the value of the last one before.

    Args:
        measurement: one round or more.
        metric: a key of VALUES.

    Raises:
        MeasurementError: it was not observed in some round.
    """
    telemetry, of = measurement.telemetry, VALUES[metric]
    samples = telemetry.samples if telemetry is not None else ()
    by_round = {index: tuple(group) for index, group in groupby(samples, lambda sample: sample.round)}
    peaks_by_round: list[float] = []
    before: tuple[float, ...] = ()
    wanted = {round_.index for round_ in measurement.rounds}
    for index in range(max(wanted, default=-1) + 1):
        values = tuple(value for sample in by_round.get(index, ()) if (value := of(sample)) is not None)
        before = values or (before if index not in by_round else ())
        if index in wanted and not before:
            raise MeasurementError(f"{metric} was not observed{_why(telemetry)}", next_step=LOOK)
        if index in wanted:
            peaks_by_round.append(max(before))
        before = before[-1:]
    return tuple(peaks_by_round)


def unobservable_reason(gate: Gate, sample: Sample | None, telemetry: Telemetry | None) -> str:
    """Why a gate's metric cannot be observed here, in words; empty if it can, or needs no observing.

    Args:
        gate: the gate.
        sample: a sample of this machine; None: telemetry is off.
        telemetry: the telemetry, which lists what cannot be observed.
    """
    if gate.metric not in VALUES or (sample is not None and VALUES[gate.metric](sample) is not None):
        return ""
    return f"{gate.metric} cannot be observed here{_why(telemetry)}"


def memory_mib(telemetry: Telemetry, every_s: float) -> list[dict[str, float]]:
    """Resident memory of the harness and of each instance that is known, MiB, at equal distances in time.

    Args:
        telemetry: telemetry with samples.
        every_s: the distance, s.
    """
    memory: list[dict[str, float]] = []
    for sample in telemetry.samples:
        held = {"harness": sample.client.rss_mib}
        held |= {f"instance {name}": used.rss_mib for name, used in sample.servers.items()}
        while len(memory) * every_s * 1e9 <= sample.at_ns - telemetry.samples[0].at_ns:
            memory.append(held)
    return memory


def _most(values: Iterator[float]) -> float | None:
    return max(values, default=None)


VALUES: Mapping[str, Callable[[Sample], float | None]] = {
    "vram_gib": lambda sample: _most(
        gpu.memory_used_mib / 1024 for gpu in sample.gpus if gpu.memory_used_mib is not None
    ),
    "server_rss_gib": lambda sample: _most(used.rss_mib / 1024 for used in sample.servers.values()),
    "gpu_temperature_c": lambda sample: _most(
        gpu.temperature_c for gpu in sample.gpus if gpu.temperature_c is not None
    ),
    "cpu_temperature_c": lambda sample: sample.cpu_c,
}
"""The metrics of the machine in a sample; None: it does not tell."""

LOOK = "see docs/telemetry.md for what is needed to observe it"


def _why(telemetry: Telemetry | None) -> str:
    if telemetry is None:
        return ": the telemetry is off (--llmperf-telemetry)"
    return f": {'; '.join(telemetry.notes)}" if telemetry.notes else ""
