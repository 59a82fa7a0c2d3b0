"""What telemetry saw of the machine, and what it cost, in a line a measurement."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.judge.metrics.machine_use import busy_cores, client_cores, neighbour_cores, sampled_s
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Measurement, Telemetry
from pytest_llmperf.report.figures import value_of
from pytest_llmperf.report.wording.amounts import amount
from pytest_llmperf.report.wording.verdict_text import name_of

_PEAKS = {"vram_gib": "GPU memory", "gpu_temperature_c": "GPU", "cpu_temperature_c": "processor"}


def machine_lines(records: Sequence[Record]) -> list[str]:
    """For each measurement who used the processors, memory and heat; then once what could not be seen, and the cost."""
    seen = [(record, found) for record in records if (found := record.measurement.telemetry) is not None]
    if not seen:
        return []
    lines = [f"machine: {name_of(record)}: {_words(record, found)}" for record, found in seen]
    notes = dict.fromkeys(note for _, found in seen for note in found.notes)
    return [*lines, *(f"  not seen: {note}" for note in notes), cost_line([found for _, found in seen])]


def cost_line(seen: Sequence[Telemetry]) -> str:
    """What sampling cost, over all of them."""
    samples, lasted_s = sum(len(one.samples) for one in seen), sum(map(sampled_s, seen))
    cores = sum(one.cost_s for one in seen) / lasted_s if lasted_s else 0.0
    dearest_ms = max(one.dearest_ms for one in seen)
    return (
        f"  telemetry: {samples} samples, at most {max(one.every_s for one in seen):g} s apart in a round; "
        f"cost {cores:.4f} of a core, at most {dearest_ms:.1f} ms at once"
    )


def _words(record: Record, telemetry: Telemetry) -> str:
    """One measurement in a clause."""
    measurement = record.measurement
    return "; ".join(filter(None, (_cores(measurement, telemetry), _memory(telemetry), _peaks(record))))


def _cores(measurement: Measurement, telemetry: Telemetry) -> str:
    busy = busy_cores(measurement)
    if busy is None:
        return "too short to say who used its processors"
    parts = {"client": client_cores(measurement), "others": neighbour_cores(measurement)}
    shares = ", ".join(f"{name} {cores:.2f}" for name, cores in parts.items() if cores is not None)
    return f"{busy:.2f} of {telemetry.cores} cores busy ({shares})"


def _memory(telemetry: Telemetry) -> str:
    """Peaks of resident memory."""
    client = max((one.client.rss_mib for one in telemetry.samples), default=None)
    if client is None:
        return ""
    held: dict[str, float] = {}
    for one in telemetry.samples:
        for name, used in one.servers.items():
            held[name] = max(used.rss_mib, held.get(name, 0.0))
    servers = "".join(f", {name} {rss_mib:.0f}" for name, rss_mib in held.items())
    return f"resident MiB: client {client:.0f}{servers}"


def _peaks(record: Record) -> str:
    found = {words: (value_of(record, metric), metric) for metric, words in _PEAKS.items()}
    return ", ".join(
        f"{words} {amount(value, metric)}" for words, (value, metric) in found.items() if value is not None
    )
