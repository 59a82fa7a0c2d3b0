"""The figures of a record, flat: for JUnit properties, pytest-benchmark's extra_info and the JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.diagnosis.client_saturation import client_cost_pp, client_cpu_share
from pytest_llmperf.judge.evidence import evidence_of, grade_of
from pytest_llmperf.judge.metrics.machine_use import busy_cores, client_cores, neighbour_cores
from pytest_llmperf.judge.metrics.series import CATALOGUE, CONTINUOUS, OBSERVED
from pytest_llmperf.judge.record import Incumbent, Record
from pytest_llmperf.model import Measurement

SHOWN = (*CONTINUOUS, "contention_rate_ttft", "contention_rate_throughput", *OBSERVED)
"""The metrics that every report shows."""

CALLED = {
    "efficiency_pct": "balance efficiency",
    "scaling_efficiency_pct": "scaling efficiency",
    "speedup": "speedup",
    "scaling_speedup": "scaling speedup",
    "system_tok_s": "tokens a second of all agents",
    "decode_tok_s": "decode rate of the slowest agent",
    "ttft_ms": "worst time to first token",
    "ttft_reasoning_ms": "worst time to first thought",
    "ttft_ratio": "worst time to first token, in times that alone",
    "slowdown": "slowdown of the worst agent",
    "queue_ms": "longest wait for a slot",
    "contention_rate_ttft": "rounds contended, by time to first token",
    "contention_rate_throughput": "rounds contended, by decode rate",
    "vram_gib": "memory in use on the fullest GPU",
    "server_rss_gib": "memory of the largest instance",
    "gpu_temperature_c": "temperature of the hottest GPU",
    "cpu_temperature_c": "temperature of the processor",
}
"""What people call them."""

_CORES = {"busy_cores": busy_cores, "client_cores": client_cores, "neighbour_cores": neighbour_cores}
"""Who used the processors of this machine while rounds ran, in cores."""


def value_of(record: Record, metric: str) -> float | None:
    """The metric's centre over the rounds (mean, median or largest, as the catalogue says); None where undefined."""
    try:
        summary = record.summary(metric)
    except MeasurementError:
        return None
    return {"median": summary.median, "max": summary.max}.get(CATALOGUE[metric].aggregate, summary.mean)


def figures(record: Record, run: Sequence[Record] | None = None) -> dict[str, float | int | str | bool]:
    """Name to value: every metric that is defined here, rounds, topology, evidence, verdicts by gate.

    Args:
        record: whose figures.
        run: the records of the whole run, by which the evidence is weighed, see `evidence_of`; None: it has not ended,
            and what its record lacks stands nowhere yet.
    """
    measurement = record.measurement
    flat: dict[str, float | int | str | bool] = {
        "backend": measurement.topology.backend,
        "simulated": measurement.topology.simulated,
        "scenario": measurement.scenario.name,
        "topology": str(measurement.topology.kind),
        "rounds": len(measurement.rounds),
        "grade": grade_of(measurement),
    }
    if run is not None:
        lacks = evidence_of(record, run).lacks
        flat |= {"decision_grade": not lacks, "lacks": "; ".join(lacks)}
    if measurement.rounds:
        flat["timing_source"] = source_of(measurement)
        flat["client_cost_pp"] = round(fmean(client_cost_pp(round_) for round_ in measurement.rounds), 4)
        flat["client_cpu_cores"] = round(fmean(client_cpu_share(round_) for round_ in measurement.rounds), 4)
    if measurement.discarded:
        flat["discarded_rounds"] = len(measurement.discarded)
    for metric in SHOWN:
        value = value_of(record, metric)
        if value is not None:
            flat[metric] = round(value, 4)
    if measurement.telemetry is not None:
        flat |= {name: round(value, 4) for name, of in _CORES.items() if (value := of(measurement)) is not None}
    if record.incumbent is not None:
        flat |= _of_incumbent(record.incumbent)
    if record.soak is not None:
        flat["soak_s"] = round(record.soak.lasted_s, 3)
        flat["soak_failed"] = record.soak.failed
        flat["soak_alarms"] = len(record.soak.alarms)
    for verdict in record.verdicts:
        flat[f"verdict.{verdict.gate.marker}.{verdict.gate.metric}"] = str(verdict.outcome)
    return flat


def _of_incumbent(incumbent: Incumbent) -> dict[str, float | int | str | bool]:
    """What took turns with the record's deployment, under `incumbent.`."""
    measurement = incumbent.measurement
    record = Record(test="", measurement=measurement)
    values = {metric: value for metric in SHOWN if (value := value_of(record, metric)) is not None}
    return {
        "incumbent": incumbent.name,
        "incumbent.backend": measurement.topology.backend,
        "incumbent.topology": str(measurement.topology.kind),
        **{f"incumbent.{metric}": round(value, 4) for metric, value in values.items()},
    }


def source_of(measurement: Measurement) -> str:
    """How the arrivals of its rounds were stamped: `kernel`, `read`, or both."""
    return ", ".join(sorted({round_.timing_source for round_ in measurement.rounds if round_.timing_source}))
