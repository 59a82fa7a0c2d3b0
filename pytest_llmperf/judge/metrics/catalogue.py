"""The catalogue of metrics: unit, good side, class, aggregate, source and definition of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from pytest_llmperf.errors import UsageError, one_of
from pytest_llmperf.judge.gate_kinds import PERCENTILES
from pytest_llmperf.judge.stats.summary import Aggregate, Shape
from pytest_llmperf.model import Bound

if TYPE_CHECKING:
    from collections.abc import Mapping

TTFT_RATIO_LIMIT = 3.0
"""A round is contended by the `ttft` detector when some request's TTFT ratio is above this (decision card, 3.2)."""

RATE_DROP_PCT = 5.0
"""... and by the `throughput` detector when some agent's decode rate fell by more than this (A.3)."""


DEFAULT_DELTA_PP = 2.0
"""The default delta, the smallest change that counts: percentages of ratio class in points ..."""

DEFAULT_DELTA_PCT = 20.0
"""... and every other metric in percent of the baseline."""

_DELTAS = {"scaling_efficiency_pct": 5.0, "graph_efficiency_pct": 5.0}
"""Solo runs at another time add noise: scaling efficiency varies three times as much as balance."""

PHASES = ("queue", "load", "prefill", "decode", "rest", "client", "think", "tool")
"""The phases of a critical path; `rest`: in neither the client's nor the server's times."""


class MetricClass(StrEnum):
    """What a metric may be compared with."""

    RATIO = "ratio"  # other machines too
    MACHINE = "machine"  # only where the manifest's identity matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One line of the catalogue.

    Attributes:
        name: the name, with its unit as suffix.
        unit: the unit as spelled in baselines: `%`, `ratio`, `ms`, `tok/s`, `x`, ...
        good: `min`: more is better, a limit is a minimum; `max`: less is better.
        kind: what it may be compared with.
        aggregate: over rounds.
        source: report and section, or pytest-llmperf if it defines the metric itself.
        definition: one line.
        ceiling: the largest value that the definition allows, or None.
        percentile: over requests, or None.
    """

    name: str
    unit: str
    good: Bound
    kind: MetricClass
    aggregate: Aggregate
    source: str
    definition: str
    ceiling: float | None = None
    percentile: int | None = None

    @property
    def in_points(self) -> bool:
        """Whether changes are stated in percentage points (else in percent of the reference)."""
        return self.kind is MetricClass.RATIO and self.unit == "%"

    @property
    def shape(self) -> Shape:
        """The shape of the distribution: a bad ratio may be much farther from the ideal than a good one."""
        has_tail = self.aggregate is Aggregate.MEAN and self.kind is MetricClass.RATIO
        tail_below = has_tail and self.good is Bound.MIN
        tail_above = has_tail and self.good is Bound.MAX and self.ceiling is not None
        return Shape(ceiling=self.ceiling, tail_below=tail_below, tail_above=tail_above)

    @property
    def change_unit(self) -> str:
        """The unit of changes: `pp` or `%`."""
        return "pp" if self.in_points else "%"

    @property
    def delta(self) -> float:
        """The smallest change for the worse that matters by default, in points or percent."""
        return _DELTAS.get(self.name, DEFAULT_DELTA_PP if self.in_points else DEFAULT_DELTA_PCT)


def _metric(name: str, unit: str, how: tuple[Bound, Aggregate], source: str, definition: str) -> Metric:
    """A catalogue line; ms, tok/s, GiB and the like are of the machine; ratios, and how hot silicon may be, are not."""
    kind = MetricClass.RATIO if unit in ("%", "pp", "ratio", "x", "C") else MetricClass.MACHINE
    good, aggregate = how
    # Only the balance index cannot exceed 100 %: scaling can, when running together is faster than alone.
    # No share of a whole exceeds 1.
    share = aggregate in (Aggregate.RATE, Aggregate.REQUESTS) or name.endswith("_share")
    ceiling = 100.0 if name == "efficiency_pct" else 1.0 if share else None
    return Metric(
        name=name,
        unit=unit,
        good=good,
        kind=kind,
        aggregate=aggregate,
        source=source,
        definition=definition,
        ceiling=ceiling,
    )


_MORE = (Bound.MIN, Aggregate.MEAN)
_LESS = (Bound.MAX, Aggregate.MEAN)
_LESS_MEDIAN = (Bound.MAX, Aggregate.MEDIAN)
_LESS_RATE = (Bound.MAX, Aggregate.RATE)
_LESS_CV = (Bound.MAX, Aggregate.CV)
_LESS_PERCENTILE = (Bound.MAX, Aggregate.PERCENTILE)
_LESS_MAX = (Bound.MAX, Aggregate.MAX)
_TTFT_CONTENDED = f"rounds with a request whose ttft_ratio is above {TTFT_RATIO_LIMIT:g}"
_RATE_CONTENDED = f"rounds with an agent whose decode_tok_s is more than {RATE_DROP_PCT:g} % below its solo median"

_OVER_ROUNDS = (
    _metric("efficiency_pct", "%", _MORE, "decision card, A.1, A.2", "sum(C_i) / (N * W) * 100: balance"),
    _metric("scaling_efficiency_pct", "%", _MORE, "pytest-llmperf", "sum(S_i) / (N * W) * 100, or from token rates"),
    _metric("speedup", "x", _MORE, "A.2", "sum(C_i) / W"),
    _metric("scaling_speedup", "x", _MORE, "pytest-llmperf", "sum(S_i) / W, or N times the token-rate efficiency"),
    _metric("system_tok_s", "tok/s", _MORE, "pytest-llmperf", "sum(n_i) / W"),
    _metric("decode_tok_s", "tok/s", _MORE, "3.2, A.5", "eval_count / eval_duration of the slowest agent"),
    _metric(
        "ttft_ms",
        "ms",
        _LESS_MEDIAN,
        "A.6",
        "first text or tool call - request sent, worst request; undefined if one is not streamed",
    ),
    _metric(
        "ttft_reasoning_ms",
        "ms",
        _LESS_MEDIAN,
        "pytest-llmperf",
        "first thought - request sent, worst request of the round",
    ),
    _metric("e2e_ms", "ms", _LESS_MEDIAN, "pytest-llmperf", "last byte of the answer - request sent, worst request"),
    _metric("ttft_ratio", "x", _LESS_MEDIAN, "decision card, 3.2", "ttft_ms over the solo median, worst request"),
    _metric("slowdown", "x", _LESS, "pytest-llmperf", "C_i / S_i of the worst agent"),
    _metric(
        "queue_ms", "ms", _LESS_MEDIAN, "pytest-llmperf", "total - load - prefill - decode of the server, worst request"
    ),
    _metric("makespan_s", "s", _LESS, "pytest-llmperf", "last answer of all agents - barrier"),
    _metric(
        "graph_efficiency_pct",
        "%",
        _MORE,
        "pytest-llmperf",
        "critical path when each step runs alone / makespan * 100; of a graph of agents",
    ),
)
_PATH = tuple(
    _metric(f"critical_{phase}_share", "ratio", _LESS, "pytest-llmperf", f"share of {phase} in the critical path")
    for phase in PHASES
)
_RATES = (
    _metric("contended_ttft", "ratio", _LESS_RATE, "decision card, 3.2", _TTFT_CONTENDED),
    _metric("contended_throughput", "ratio", _LESS_RATE, "A.3", _RATE_CONTENDED),
    _metric("contention_rate_ttft", "ratio", _LESS_RATE, "decision card, 3.2", f"share of {_TTFT_CONTENDED}"),
    _metric("contention_rate_throughput", "ratio", _LESS_RATE, "A.3", f"share of {_RATE_CONTENDED}"),
)
_PER_REQUEST = (
    _metric("server_ttft_ms", "ms", _LESS_MEDIAN, "3.2", "load_duration + prompt_eval_duration, worst request"),
    _metric(
        "client_decode_tok_s", "tok/s", _MORE, "pytest-llmperf", "(n - 1) / (last - first arrival), slowest request"
    ),
    _metric("itl_ms", "ms", _LESS_MEDIAN, "pytest-llmperf", "median gap between chunks, worst request"),
    _metric("tpot_ms", "ms", _LESS, "pytest-llmperf", "(last - first arrival) / (n - 1), worst request"),
)
_E2E_S = _metric("e2e_s", "s", _LESS_MEDIAN, "pytest-llmperf", "e2e_ms / 1000")
_PERCENTILES = tuple(
    replace(
        _metric(f"{name}_p{percentile}_{unit}", unit, _LESS_PERCENTILE, source, f"P{percentile} {over}"),
        percentile=percentile,
    )
    for name, unit, source, over in (
        ("ttft", "ms", "A.6", "of TTFT over the requests of all rounds"),
        ("itl", "ms", "pytest-llmperf", "of the gaps between chunks over all rounds"),
        ("tpot", "ms", "pytest-llmperf", "of TPOT over the requests of all rounds"),
        ("e2e", "s", "pytest-llmperf", "of the time to the end of the answer over the requests of all rounds"),
    )
    for percentile in PERCENTILES
)
_GOODPUT = _metric(
    "goodput_share", "ratio", (Bound.MIN, Aggregate.REQUESTS), "pytest-llmperf", "requests that keep every stated limit"
)
_DERIVED = (
    _metric("cost_per_1m_usd", "USD", _LESS, "A.7", "1e6 / tok_s / 3600 * usd_per_hour"),
    _metric("memory_efficiency", "tok/s/GiB", _MORE, "A.8", "tok_s / vram_gib"),
    _metric("break_even_months", "months", _LESS, "A.9", "migration_cost / monthly_savings"),
    _metric("requests_per_hour", "1/h", _MORE, "G.1", "3600 / (ttft_s + tokens / tok_s)"),
    _metric("effective_tok_s", "tok/s", _MORE, "G.2", "N * tok_s * efficiency"),
    _metric("tco_usd", "USD", _LESS, "7.3", "one_time + monthly_cost * 12 * years"),
)
_QUALITY = (
    _metric("changed_answers_rate", "ratio", _LESS_RATE, "E.2 #5, R10", "share of answers that differ together"),
    _metric("quality_drop_pp", "pp", _LESS, "TR109, R10", "score alone - score together, in points of 100"),
)
_OBSERVED = (
    _metric("vram_gib", "GiB", _LESS_MAX, "E.1 #9, H.2", "memory in use on the fullest GPU, peak of the round"),
    _metric(
        "server_rss_gib",
        "GiB",
        _LESS_MAX,
        "pytest-llmperf",
        "resident memory of the largest instance, peak of the round",
    ),
    _metric("gpu_temperature_c", "C", _LESS_MAX, "H.2", "of the hottest GPU, peak of the round"),
    _metric("cpu_temperature_c", "C", _LESS_MAX, "pytest-llmperf", "of the processor, peak of the round"),
)
_CVS = tuple(
    _metric(f"{base.name}_cv_pct", "%", _LESS_CV, "A.4", f"sample sd over mean of {base.name}, percent")
    for base in _OVER_ROUNDS
)

CATALOGUE: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *_OVER_ROUNDS,
        *_PATH,
        *_RATES,
        *_PER_REQUEST,
        _E2E_S,
        *_PERCENTILES,
        _GOODPUT,
        *_DERIVED,
        *_QUALITY,
        *_OBSERVED,
        *_CVS,
    )
}
"""Every metric by name."""

CONTINUOUS = tuple(metric.name for metric in _OVER_ROUNDS)
"""Metrics of a round that are measured, not counted: those that `consistency` and `regression` may name."""


OBSERVED = tuple(metric.name for metric in _OBSERVED)
"""Metrics of the machine, sampled while rounds run."""


def metric_of(name: str) -> Metric:
    """The catalogue's line of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in CATALOGUE:
        raise UsageError(f"unknown metric {name!r}", next_step=f"use {one_of(name, CATALOGUE)}")
    return CATALOGUE[name]
