"""The load on the machine as telemetry observed it, one line per measurement, and the overhead of telemetry."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.judge.diagnosis.machine_health import busy_cores, client_cores, neighbour_cores, sampled_s
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Measurement, Telemetry
from pytest_llmperf.report.figures import value_of
from pytest_llmperf.report.wording.amounts import amount
from pytest_llmperf.report.wording.verdict_text import name_of

_PEAKS = {"vram_gib": "GPU memory", "gpu_temperature_c": "GPU", "cpu_temperature_c": "processor"}


def machine_lines(records: Sequence[Record]) -> list[str]:
    """Per measurement processors, memory and temperatures; then what was not observed, and the overhead."""
    observed = [(record, record.measurement.telemetry) for record in records]
    telemetries = [telemetry for _, telemetry in observed if telemetry is not None]
    if not telemetries:
        return []
    lines = [
        f"machine: {name_of(record)}: {_words(record, telemetry)}"
        for record, telemetry in observed
        if telemetry is not None
    ]
    notes = dict.fromkeys(note for telemetry in telemetries for note in telemetry.notes)
    return [*lines, *(f"  not observed: {note}" for note in notes), cost_line(telemetries)]


def cost_line(telemetries: Sequence[Telemetry]) -> str:
    """The overhead of sampling, over all measurements."""
    samples, lasted_s = sum(len(telemetry.samples) for telemetry in telemetries), sum(map(sampled_s, telemetries))
    cores = sum(telemetry.cost_s for telemetry in telemetries) / lasted_s if lasted_s else 0.0
    longest_ms = max(telemetry.dearest_ms for telemetry in telemetries)
    return (
        f"  telemetry: {samples} samples, at most {max(telemetry.every_s for telemetry in telemetries):g} s apart in a "
        f"round; overhead {cores:.4f} of a core, at most {longest_ms:.1f} ms per sample"
    )


def _words(record: Record, telemetry: Telemetry) -> str:
    """One measurement."""
    measurement = record.measurement
    return "; ".join(filter(None, (_cores(measurement, telemetry), _memory(telemetry), _peaks(record))))


def _cores(measurement: Measurement, telemetry: Telemetry) -> str:
    busy = busy_cores(measurement)
    if busy is None:
        return "too short to observe who used the processors"
    parts = {"client": client_cores(measurement), "others": neighbour_cores(measurement)}
    shares = ", ".join(f"{name} {cores:.2f}" for name, cores in parts.items() if cores is not None)
    return f"{busy:.2f} of {telemetry.cores} cores busy ({shares})"


def _memory(telemetry: Telemetry) -> str:
    """The peaks of resident memory."""
    client = max((sample.client.rss_mib for sample in telemetry.samples), default=None)
    if client is None:
        return ""
    peaks: dict[str, float] = {}
    for sample in telemetry.samples:
        for name, used in sample.servers.items():
            peaks[name] = max(used.rss_mib, peaks.get(name, 0.0))
    servers = "".join(f", {name} {rss_mib:.0f}" for name, rss_mib in peaks.items())
    return f"resident MiB: client {client:.0f}{servers}"


def _peaks(record: Record) -> str:
    values = {metric: value_of(record, metric) for metric in _PEAKS}
    return ", ".join(
        f"{_PEAKS[metric]} {amount(value, metric)}" for metric, value in values.items() if value is not None
    )
