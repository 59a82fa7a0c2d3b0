"""Rows of results: the schema of the report's appendix R.1, what R.2 derives, and what we know besides; as CSV.

A row is one round. What is undefined is empty, in the CSV, and None here; it is never 0.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any

from pytest_llmperf.errors import MeasurementError, UsageError, one_of
from pytest_llmperf.judge.metrics import formulas
from pytest_llmperf.judge.metrics.contradictions import believable
from pytest_llmperf.judge.metrics.series import all_series, observed_series
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.stats.summary import summarise
from pytest_llmperf.model import OLLAMA_ONLY, Agent, AgentRun, Cell, Measurement, RequestTiming, Round
from pytest_llmperf.study.matrix_files import config_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One round of one cell; the fields are the columns of the CSV, in its order.

    Attributes:
        run_id: unique: experiment, cell, start, round.
        config_name: e.g. `gpu80_ctx1024_temp0p6`.
        model: name on the server.
        language: of the agents; ours are Python.
        runtime: that ran the clients.
        throughput_tok_s: decode rate of the slowest agent, tok/s.
        ttft_ms: client's time to first token, worst request, ms.
        total_tokens: of all agents.
        total_time_s: from the barrier to the last answer, s.
        parallel_efficiency_pct: balance, %; of two agents or more.
        concurrency_speedup: sum of the agents' times over the wall time, x; of two or more.
        contention_detected: some TTFT above 3 times that alone; of two agents or more.
        num_gpu, num_ctx, temperature: as sent; None: the server's default, or agents that differ.
        vram_mb: peak VRAM, MB; None where it was not measured.
        timestamp: ISO 8601: when the cell's measurement began, plus the time from its first round to this one.
        cv_throughput: of the configuration's rounds, % (R.2).
        efficiency_spread_pp: largest minus smallest of the configuration, points (R.2).
        cost_per_1M_tokens: at the rate of all agents over the wall time, USD (R.2); None without a price.
        memory_efficiency: tok/s a GiB of VRAM (R.2); None without VRAM.
        experiment, scenario, topology, backend: where it comes from; `simulated` is no real engine.
        round: from 1, in its cell.
        agents: at once.
        num_thread, num_predict: as sent; None as above.
        server_ttft_ms: load and prefill by the server's clock, worst request, ms.
        load_ms, prefill_ms, decode_ms, queue_ms: server's durations, mean over requests, ms; queue: waiting for a slot.
        own_ms: the agents' time outside of requests, mean over agents, ms: their files, their thinking.
        scaling_efficiency_pct: against each agent alone, %.
        system_tok_s: all tokens over the wall time, tok/s.
        requests: of all agents.
        model_mb: size of the model's file, MB, by the server.
        client_saturated: the round does not count: its client, not the server, held it up.
        throughput_gap_tok_s: decode rate of the fastest agent minus that of the slowest, tok/s.
        cell: value by axis.
    """

    run_id: str
    config_name: str
    model: str
    language: str
    runtime: str
    throughput_tok_s: float | None
    ttft_ms: float | None
    total_tokens: int
    total_time_s: float
    parallel_efficiency_pct: float | None
    concurrency_speedup: float | None
    contention_detected: bool | None
    num_gpu: int | None
    num_ctx: int | None
    temperature: float | None
    vram_mb: float | None
    timestamp: str
    cv_throughput: float | None
    efficiency_spread_pp: float | None
    cost_per_1M_tokens: float | None
    memory_efficiency: float | None
    experiment: str
    scenario: str
    topology: str
    backend: str
    round: int
    agents: int
    num_thread: int | None
    num_predict: int | None
    server_ttft_ms: float | None
    load_ms: float | None
    prefill_ms: float | None
    decode_ms: float | None
    queue_ms: float | None
    own_ms: float | None
    scaling_efficiency_pct: float | None
    system_tok_s: float | None
    requests: int
    model_mb: float | None
    client_saturated: bool
    throughput_gap_tok_s: float | None
    cell: Cell = field(default_factory=dict)


COLUMNS = tuple(one.name for one in fields(Row))
_TYPES: dict[str, str] = {one.name: str(one.type) for one in fields(Row)}
NUMERIC = tuple(name for name, kind in _TYPES.items() if kind.startswith(("int", "float", "bool")))
"""Columns that hold a figure (a truth value counts as 1 or 0)."""


def rows_of(experiment: str, cell: Cell, record: Record, *, vram_mb: float | None = None) -> tuple[Row, ...]:
    """A cell's rounds as rows; where none counts, those in which the client was saturated.

    What R.2 derives is added by `derived`, over all rows of a configuration.

    Args:
        experiment: its name.
        cell: value by axis.
        record: what was measured.
        vram_mb: peak VRAM of the instances, MB; None: what was in use on the fullest GPU in each round, where observed.
    """
    measurement, saturated = record.measurement, False
    if not measurement.rounds:
        measurement, saturated = replace(measurement, rounds=measurement.discarded), True
    values = all_series(measurement) | observed_series(measurement)
    several = len(measurement.scenario.agents) > 1
    common: dict[str, Any] = {
        "config_name": config_name(cell),
        "model": measurement.topology.model,
        "language": "python" if not measurement.scenario.external else "",
        "runtime": measurement.manifest.facts.get("runtime", ""),
        "cv_throughput": None,
        "efficiency_spread_pp": None,
        "cost_per_1M_tokens": None,
        "memory_efficiency": None,
        "experiment": experiment,
        "scenario": measurement.scenario.name,
        "topology": str(measurement.topology.kind),
        "backend": measurement.topology.backend,
        "agents": len(measurement.scenario.agents),
        "model_mb": _model_mb(measurement.manifest.facts.get("model_size_bytes", "")),
        "client_saturated": saturated,
        "cell": dict(cell),
        **{name: _common_option(measurement, name) for name in _OPTIONS},
    }

    def of(metric: str, index: int) -> float | None:
        return values[metric][index] if metric in values else None

    rows = []
    for index, one in enumerate(measurement.rounds):
        contended, observed_gib = of("contended_ttft", index), of("vram_gib", index)
        rows.append(
            Row(
                run_id=f"{experiment}:{label(cell)}:{measurement.started_at}:{index + 1}",
                throughput_tok_s=of("decode_tok_s", index),
                ttft_ms=of("ttft_ms", index),
                total_tokens=sum(run.eval_count for run in one.together),
                total_time_s=max(run.duration_ns for run in one.together) / formulas.NS_PER_S,
                parallel_efficiency_pct=of("efficiency_pct", index) if several else None,
                concurrency_speedup=of("speedup", index) if several else None,
                contention_detected=bool(contended) if several and contended is not None else None,
                vram_mb=observed_gib * 2**30 / 1e6 if vram_mb is None and observed_gib is not None else vram_mb,
                timestamp=_began(measurement, one),
                round=index + 1,
                scaling_efficiency_pct=of("scaling_efficiency_pct", index) if several else None,
                system_tok_s=of("system_tok_s", index),
                requests=sum(len(run.requests) for run in one.together),
                **_server_side(one),
                **common,
            )
        )
    return tuple(rows)


_OPTIONS = ("num_gpu", "num_ctx", "temperature", "num_thread", "num_predict")


def label(cell: Cell) -> str:
    """Unique in the experiment; the prompt counts."""
    return ",".join(f"{axis}={value}" for axis, value in cell.items())


def _common_option(measurement: Measurement, name: str) -> Any:
    """What every agent asked for; None where they differ or leave it to the server."""
    ours = [agent for agent in measurement.scenario.agents if isinstance(agent, Agent)]
    if name in OLLAMA_ONLY and any(one.api == "openai" for one in measurement.topology.instances):
        return None
    asked = {getattr(agent.options, name) for agent in ours}
    return asked.pop() if len(asked) == 1 else None


def _model_mb(size_bytes: str) -> float | None:
    """None where instances differ, or nobody says."""
    return int(size_bytes) / 1e6 if size_bytes.isdigit() and int(size_bytes) else None


def _began(measurement: Measurement, one: Round) -> str:
    """When a round began."""
    if not measurement.started_at:
        return ""
    since_ns = _first_ns(one) - _first_ns(measurement.rounds[0])
    began = datetime.fromisoformat(measurement.started_at) + timedelta(microseconds=since_ns / 1000)
    return began.isoformat(timespec="milliseconds")


def _first_ns(one: Round) -> int:
    return min(run.start_ns for run in (*one.solo, *one.together))


def _server_side(one: Round) -> dict[str, Any]:
    """Where the time of the together part went, by the server's clock, as far as ours allows; and the agents' own."""
    requests = [request for run in one.together for request in run.requests]
    believed = one.together if all(map(believable, requests)) else ()
    told = [request for run in believed for request in run.requests if request.total_duration_ns > 0]
    rates = [rate for run in believed if (rate := formulas.agent_decode_tok_s(run)) is not None]
    found: dict[str, Any] = {
        "own_ms": fmean(_own_ns(run) for run in one.together) / formulas.NS_PER_MS,
        "throughput_gap_tok_s": max(rates) - min(rates) if len(rates) > 1 else None,
    }
    for name, figure in _DURATIONS.items():
        found[name] = fmean(figure(request) for request in told) if told else None
    worst = [ms for request in told if (ms := formulas.server_ttft_ms(request)) is not None]
    return {**found, "server_ttft_ms": max(worst) if worst else None}


def _own_ns(run: AgentRun) -> int:
    """What is left of an agent's time without its requests."""
    return run.duration_ns - sum(request.done_ns - request.sent_ns for request in run.requests)


_DURATIONS: dict[str, Callable[[RequestTiming], float]] = {
    "load_ms": lambda request: request.load_duration_ns / formulas.NS_PER_MS,
    "prefill_ms": lambda request: request.prompt_eval_duration_ns / formulas.NS_PER_MS,
    "decode_ms": lambda request: request.eval_duration_ns / formulas.NS_PER_MS,
    "queue_ms": lambda request: request.queue_ns / formulas.NS_PER_MS,
}


def derived(rows: Sequence[Row], *, usd_per_hour: float | None = None) -> tuple[Row, ...]:
    """The same rows with the metrics of R.2.

    Args:
        rows: of the whole experiment.
        usd_per_hour: price of the machine that serves all agents; None: no cost.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.config_name, []).append(row)
    done = []
    for row in rows:
        group = groups[row.config_name]
        rates = [one.throughput_tok_s for one in group if one.throughput_tok_s is not None]
        balances = [one.parallel_efficiency_pct for one in group if one.parallel_efficiency_pct is not None]
        rate = row.throughput_tok_s
        done.append(
            replace(
                row,
                cv_throughput=summarise(rates).cv_pct if rates else None,
                efficiency_spread_pp=max(balances) - min(balances) if balances else None,
                cost_per_1M_tokens=(
                    formulas.cost_per_1m_usd(tok_s=row.system_tok_s, usd_per_hour=usd_per_hour)
                    if row.system_tok_s and usd_per_hour
                    else None
                ),
                memory_efficiency=(
                    formulas.memory_efficiency(tok_s=rate, vram_gib=row.vram_mb * 1e6 / 2**30)
                    if rate and row.vram_mb
                    else None
                ),
            )
        )
    return tuple(done)


def as_csv(rows: Iterable[Row]) -> str:
    """The rows as CSV with a header; `cell` is JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_written(value) for value in asdict(row).values()])
    return out.getvalue()


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else repr(value) if isinstance(value, float) else value


def from_csv(text: str) -> tuple[Row, ...]:
    """What `as_csv` wrote, as rows again.

    Raises:
        UsageError: a column is missing or unknown, or a value is not of its column's kind; names line and column.
    """
    reader = csv.reader(io.StringIO(text))
    header = next(reader, [])
    if tuple(header) != COLUMNS:
        odd = sorted(set(header) ^ set(COLUMNS)) or ["their order"]
        raise UsageError(
            f"these are no results of ours: columns differ in {', '.join(odd)}", next_step="see docs/experiments.md"
        )
    rows = []
    for number, line in enumerate(reader, start=2):
        if len(line) != len(COLUMNS):
            raise UsageError(f"line {number}: got {len(line)} values, wanted {len(COLUMNS)}")
        values = {}
        for name, raw in zip(COLUMNS, line, strict=True):
            try:
                values[name] = _read(_TYPES[name], raw)
            except ValueError as error:
                raise UsageError(f"line {number}, column {name}: got {raw!r}, wanted {_TYPES[name]}") from error
        rows.append(Row(**values))
    return tuple(rows)


def _read(kind: str, raw: str) -> Any:
    if kind == "Cell":
        found = json.loads(raw)
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found
    if kind == "str":
        return raw
    if not raw and kind.endswith("| None"):
        return None
    if kind.startswith("bool"):
        if raw not in ("true", "false"):
            raise ValueError("no truth value")
        return raw == "true"
    return int(raw) if kind.startswith("int") else float(raw)


def value_of(row: Row, metric: str) -> float | None:
    """A figure of a row, by its column; a truth value is 1 or 0.

    Raises:
        UsageError: no column of that name that holds a figure.
    """
    if metric not in NUMERIC:
        raise UsageError(f"results have no figure {metric!r}", next_step=f"use {one_of(metric, NUMERIC)}")
    value = getattr(row, metric)
    return None if value is None else float(value)


def values_of(rows: Iterable[Row], metric: str) -> tuple[float, ...]:
    """The figures of rows, in their order.

    Raises:
        UsageError: as `value_of`.
        MeasurementError: there is none, or it is undefined in some row: rows that fail to report are no random sample.
    """
    found = [value_of(row, metric) for row in rows]
    known = tuple(value for value in found if value is not None)
    if not known or len(known) < len(found):
        raise MeasurementError(f"{metric} is undefined in {len(found) - len(known)} of {len(found)} rounds")
    return known
