"""The figures of a record as a flat mapping, for JUnit, pytest-benchmark's extra_info and the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.diagnosis.client_saturation import client_cost_pp, client_cpu_share
from pytest_llmperf.judge.diagnosis.machine_health import busy_cores, client_cores, neighbour_cores
from pytest_llmperf.judge.evidence import evidence_of, grade_of
from pytest_llmperf.judge.metrics.series import CATALOGUE, CONTINUOUS, OBSERVED
from pytest_llmperf.judge.record import Incumbent, Record
from pytest_llmperf.model import Measurement

SHOWN = (*CONTINUOUS, "contention_rate_ttft", "contention_rate_throughput", *OBSERVED)
"""The metrics in every report."""

CALLED = {
    "efficiency_pct": "balance efficiency",
    "scaling_efficiency_pct": "scaling efficiency",
    "speedup": "speedup",
    "scaling_speedup": "scaling speedup",
    "system_tok_s": "system throughput of all agents",
    "decode_tok_s": "decode throughput of the slowest agent",
    "ttft_ms": "TTFT of the worst request",
    "ttft_reasoning_ms": "TTFT of the worst request, reasoning included",
    "e2e_ms": "duration of the slowest request, end to end",
    "ttft_ratio": "TTFT together over TTFT alone, worst request",
    "slowdown": "slowdown of the slowest agent",
    "queue_ms": "queue time of the worst request",
    "makespan_s": "makespan",
    "graph_efficiency_pct": "graph efficiency",
    "contention_rate_ttft": "contention rate by TTFT",
    "contention_rate_throughput": "contention rate by decode throughput",
    "vram_gib": "GPU memory in use on the fullest GPU",
    "server_rss_gib": "resident memory of the largest instance",
    "gpu_temperature_c": "temperature of the hottest GPU",
    "cpu_temperature_c": "temperature of the processor",
}
"""The names of metrics for people."""

_CORES = {"busy_cores": busy_cores, "client_cores": client_cores, "neighbour_cores": neighbour_cores}
"""Processor use during rounds, in cores."""


def value_of(record: Record, metric: str) -> float | None:
    """The metric's aggregate over the rounds (mean, median or maximum, see the catalogue); None if undefined."""
    try:
        summary = record.summary(metric)
    except MeasurementError:
        return None
    return {"median": summary.median, "max": summary.max}.get(CATALOGUE[metric].aggregate, summary.mean)


def figures(record: Record, run: Sequence[Record] | None = None) -> dict[str, float | int | str | bool]:
    """Values by name: every defined metric, rounds, topology, evidence, verdicts by gate.

    Args:
        record: the record.
        run: the records of the whole run, needed to grade the evidence, see `evidence_of`; None: the run has not ended,
            and the evidence is left out.
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
    """The incumbent's figures, under `incumbent.`."""
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
    """The source of the arrival timestamps of its rounds: `kernel`, `read`, or both."""
    return ", ".join(sorted({round_.timing_source for round_ in measurement.rounds if round_.timing_source}))
