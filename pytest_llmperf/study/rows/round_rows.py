"""Rows of results from the rounds of a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any

from pytest_llmperf.judge.metrics import formulas, request_formulas
from pytest_llmperf.judge.metrics.contradictions import believable
from pytest_llmperf.judge.metrics.series import all_series, observed_series
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.stats.summary import summarise
from pytest_llmperf.model import OLLAMA_ONLY, Agent, AgentRun, Cell, Measurement, RequestTiming, Round
from pytest_llmperf.study.matrices.matrix_cells import config_name
from pytest_llmperf.study.rows.result_rows import Row


def rows_of(experiment: str, cell: Cell, record: Record, *, vram_mb: float | None = None) -> tuple[Row, ...]:
    """A cell's rounds as rows; if none counts, the rounds with a saturated client.

    `derived` adds the columns of R.2, over all rows of a configuration.

    Args:
        experiment: its name.
        cell: value by axis.
        record: what was measured.
        vram_mb: peak VRAM of the instances, MB; None: the memory in use on the fullest GPU in each round, if observed.
    """
    measurement, saturated = record.measurement, False
    if not measurement.rounds:
        measurement, saturated = replace(measurement, rounds=measurement.discarded), True
    values = all_series(measurement) | observed_series(measurement)
    several = len(measurement.scenario.agents) > 1
    common = _common(experiment, cell, measurement, saturated=saturated)

    def of(metric: str, index: int) -> float | None:
        return values[metric][index] if metric in values else None

    rows = []
    for index, round_ in enumerate(measurement.rounds):
        contended, observed_gib = of("contended_ttft", index), of("vram_gib", index)
        rows.append(
            Row(
                run_id=f"{experiment}:{label(cell)}:{measurement.started_at}:{index + 1}",
                throughput_tok_s=of("decode_tok_s", index),
                ttft_ms=of("ttft_ms", index),
                total_tokens=sum(run.eval_count for run in round_.together),
                total_time_s=max(run.duration_ns for run in round_.together) / formulas.NS_PER_S,
                parallel_efficiency_pct=of("efficiency_pct", index) if several else None,
                concurrency_speedup=of("speedup", index) if several else None,
                contention_detected=bool(contended) if several and contended is not None else None,
                vram_mb=observed_gib * 2**30 / 1e6 if vram_mb is None and observed_gib is not None else vram_mb,
                timestamp=_began(measurement, round_),
                round=index + 1,
                scaling_efficiency_pct=of("scaling_efficiency_pct", index) if several else None,
                system_tok_s=of("system_tok_s", index),
                requests=sum(len(run.requests) for run in round_.together),
                **_server_side(round_),
                **common,
            )
        )
    return tuple(rows)


def _common(experiment: str, cell: Cell, measurement: Measurement, *, saturated: bool) -> dict[str, Any]:
    """The columns that are equal in all rows of a cell."""
    return {
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


_OPTIONS = ("num_gpu", "num_ctx", "temperature", "num_thread", "num_predict")


def label(cell: Cell) -> str:
    """A cell's label, unique in the experiment; it includes the prompt."""
    return ",".join(f"{axis}={value}" for axis, value in cell.items())


def _common_option(measurement: Measurement, name: str) -> Any:
    """The option that all agents share; None if they differ or leave it to the server."""
    ours = [agent for agent in measurement.scenario.agents if isinstance(agent, Agent)]
    if name in OLLAMA_ONLY and any(instance.api == "openai" for instance in measurement.topology.instances):
        return None
    asked = {getattr(agent.options, name) for agent in ours}
    return asked.pop() if len(asked) == 1 else None


def _model_mb(size_bytes: str) -> float | None:
    """The size of the model, MB; None if unknown or if instances differ."""
    return int(size_bytes) / 1e6 if size_bytes.isdigit() and int(size_bytes) else None


def _began(measurement: Measurement, round_: Round) -> str:
    """The start of a round, ISO 8601."""
    if not measurement.started_at:
        return ""
    since_ns = _first_ns(round_) - _first_ns(measurement.rounds[0])
    began = datetime.fromisoformat(measurement.started_at) + timedelta(microseconds=since_ns / 1000)
    return began.isoformat(timespec="milliseconds")


def _first_ns(round_: Round) -> int:
    return min(run.start_ns for run in (*round_.solo, *round_.together))


def _server_side(round_: Round) -> dict[str, Any]:
    """The server's durations in the together part, if the client's clock confirms them, and the agents' own time."""
    requests = [request for run in round_.together for request in run.requests]
    believed = round_.together if all(map(believable, requests)) else ()
    told = [request for run in believed for request in run.requests if request.total_duration_ns > 0]
    rates = [rate for run in believed if (rate := request_formulas.agent_decode_tok_s(run)) is not None]
    figures: dict[str, Any] = {
        "own_ms": fmean(_own_ns(run) for run in round_.together) / request_formulas.NS_PER_MS,
        "throughput_gap_tok_s": max(rates) - min(rates) if len(rates) > 1 else None,
    }
    for name, figure in _DURATIONS.items():
        figures[name] = fmean(figure(request) for request in told) if told else None
    worst = [ms for request in told if (ms := request_formulas.server_ttft_ms(request)) is not None]
    return {**figures, "server_ttft_ms": max(worst) if worst else None}


def _own_ns(run: AgentRun) -> int:
    """An agent's time outside its requests and pauses."""
    return run.own_ns - sum(request.done_ns - request.sent_ns for request in run.requests)


_DURATIONS: dict[str, Callable[[RequestTiming], float]] = {
    "load_ms": lambda request: request.load_duration_ns / request_formulas.NS_PER_MS,
    "prefill_ms": lambda request: request.prompt_eval_duration_ns / request_formulas.NS_PER_MS,
    "decode_ms": lambda request: request.eval_duration_ns / request_formulas.NS_PER_MS,
    "queue_ms": lambda request: request.queue_ns / request_formulas.NS_PER_MS,
}


def derived(rows: Sequence[Row], *, usd_per_hour: float | None = None) -> tuple[Row, ...]:
    """The rows with the derived columns of R.2.

    Args:
        rows: the rows of the whole experiment.
        usd_per_hour: price of the machine that serves all agents; None: no cost.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.config_name, []).append(row)
    done = []
    for row in rows:
        group = groups[row.config_name]
        rates = [row_.throughput_tok_s for row_ in group if row_.throughput_tok_s is not None]
        balances = [row_.parallel_efficiency_pct for row_ in group if row_.parallel_efficiency_pct is not None]
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
