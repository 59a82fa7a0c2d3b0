"""Rows of results, as values and as CSV: the columns of the report's R.1, the derived ones of R.2, and more.

A row is one round. An undefined figure is None, and empty in the CSV; it is never 0.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pytest_llmperf.errors import MeasurementError, UsageError, one_of
from pytest_llmperf.model import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A round of a cell; the fields are the columns of the CSV, in their order.

    Attributes:
        run_id: a unique id: experiment, cell, start, round.
        config_name: name of the configuration, e.g. `gpu80_ctx1024_temp0p6`.
        model: the model's name on the server.
        language: language of the agents; built-in agents are Python.
        runtime: runtime of the clients.
        throughput_tok_s: decode rate of the slowest agent, tok/s.
        ttft_ms: client's time to first token, worst request, ms.
        total_tokens: output tokens of all agents.
        total_time_s: time from the barrier to the last answer, s.
        parallel_efficiency_pct: balance efficiency, %; None for a single agent.
        concurrency_speedup: sum of the agents' times over the wall time, x; None for a single agent.
        contention_detected: a TTFT above 3 times the TTFT alone; None for a single agent.
        num_gpu, num_ctx, temperature: the values sent; None: the server's default, or agents differ.
        vram_mb: peak VRAM, MB; None if not measured.
        timestamp: ISO 8601: when the cell's measurement began, plus the time from its first round to this one.
        cv_throughput: CV of the throughput over the configuration's rounds, % (R.2).
        efficiency_spread_pp: largest minus smallest efficiency of the configuration, points (R.2).
        cost_per_1M_tokens: cost at the rate of all agents over the wall time, USD (R.2); None without a price.
        memory_efficiency: tok/s per GiB of VRAM (R.2); None without VRAM.
        experiment, scenario, topology, backend: what was measured; `simulated` is not a real engine.
        round: number of the round in its cell, from 1.
        agents: number of concurrent agents.
        num_thread, num_predict: the values sent; None as above.
        server_ttft_ms: load and prefill by the server's clock, worst request, ms.
        load_ms, prefill_ms, decode_ms, queue_ms: server's durations, mean over requests, ms; queue: waiting for a slot.
        own_ms: the agents' time outside their requests, mean over agents, ms.
        scaling_efficiency_pct: against each agent alone, %.
        system_tok_s: all tokens over the wall time, tok/s.
        requests: requests of all agents.
        model_mb: size of the model as reported by the server, MB.
        client_saturated: the client limited the round, so it does not count.
        throughput_gap_tok_s: decode rate of the fastest agent minus the rate of the slowest, tok/s.
        cell: the value of each axis.
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


COLUMNS = tuple(column.name for column in fields(Row))
_TYPES: dict[str, str] = {column.name: str(column.type) for column in fields(Row)}
NUMERIC = tuple(name for name, kind in _TYPES.items() if kind.startswith(("int", "float", "bool")))
"""Columns with figures (a boolean counts as 1 or 0)."""


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
    """Rows read back from the text of `as_csv`.

    Raises:
        UsageError: a column is missing or unknown, or a value has the wrong type; names line and column.
    """
    reader = csv.reader(io.StringIO(text))
    header = next(reader, [])
    if tuple(header) != COLUMNS:
        odd = sorted(set(header) ^ set(COLUMNS)) or ["their order"]
        raise UsageError(
            f"not a results file of pytest-llmperf: columns differ in {', '.join(odd)}",
            next_step="see docs/experiments.md",
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
        cell = json.loads(raw)
        if not isinstance(cell, dict):
            raise ValueError("not an object")
        return cell
    if kind == "str":
        return raw
    if not raw and kind.endswith("| None"):
        return None
    if kind.startswith("bool"):
        if raw not in ("true", "false"):
            raise ValueError("not a boolean")
        return raw == "true"
    return int(raw) if kind.startswith("int") else float(raw)


def value_of(row: Row, metric: str) -> float | None:
    """A figure of a row by its column; a boolean is 1 or 0.

    Raises:
        UsageError: no column of this name has figures.
    """
    if metric not in NUMERIC:
        raise UsageError(f"results have no figure {metric!r}", next_step=f"use {one_of(metric, NUMERIC)}")
    value = getattr(row, metric)
    return None if value is None else float(value)


def values_of(rows: Iterable[Row], metric: str) -> tuple[float, ...]:
    """The figures of rows, in their order.

    Raises:
        UsageError: as `value_of`.
        MeasurementError: there is no row, or the figure is undefined in some: the other rows are not a random sample.
    """
    values = [value_of(row, metric) for row in rows]
    known = tuple(value for value in values if value is not None)
    if not known or len(known) < len(values):
        raise MeasurementError(f"{metric} is undefined in {len(values) - len(known)} of {len(values)} rounds")
    return known
