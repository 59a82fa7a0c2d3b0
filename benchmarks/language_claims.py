"""What a run of `benchmarks.languages` says about the report's claims C1, C3 and C5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

from pytest_llmperf.judge.regression.decision_rule import Look
from pytest_llmperf.judge.regression.paired_rounds import change_between_pairs
from pytest_llmperf.judge.stats.confidence_intervals import cv_interval
from pytest_llmperf.model import Bound

RUST, PYTHON = "rust-tokio-default", "python-httpx"
"""The implementations that C1 compares."""

CEILING_PCT, TOLERANCE_PCT = 86.0, 3.0
"""C5, and its tolerance in perf_suites/matrices/claims.toml."""

UNTESTABLE = "not testable in this run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one implementation at one rate, a value a round; empty if unknown."""

    cpu_us: Sequence[float]
    ttft_ms: Sequence[float]
    decode_tok_s: Sequence[float]
    efficiency_pct: Sequence[float]
    scaling_pct: Sequence[float]
    memory_mib: Sequence[float]
    start_up_ms: Sequence[float]


def claim_rows(figures: Mapping[str, Figures]) -> list[tuple[str, str, str]]:
    """Each part of a claim, its status and the figure or the reason, from the figures of one rate."""
    return [
        _advantage(figures, "C1: Rust decodes 15.2 % faster", 15.2, Bound.MIN, "decode_tok_s"),
        _advantage(figures, "C1: Rust needs 67 % less memory", 67.0, Bound.MAX, "memory_mib"),
        _advantage(figures, "C1: Rust starts up in 83 % less time", 83.0, Bound.MAX, "start_up_ms"),
        _steadiest(figures),
        _ceiling(figures),
    ]


def _advantage(
    figures: Mapping[str, Figures], claim: str, stated_pct: float, bound: Bound, metric: str
) -> tuple[str, str, str]:
    """Rust against Python by the rule for paired rounds.

    Not reproduced: the whole interval is below the stated advantage. Larger: the whole interval is above it.
    Reproduced: the interval includes it, and excludes no advantage at all.
    """
    if missing := [name for name in (RUST, PYTHON) if name not in figures]:
        return claim, UNTESTABLE, f"{' and '.join(missing)} was not measured"
    values = [getattr(figures[name], metric) for name in (PYTHON, RUST)]
    look = Look(looks=1, last=True)
    if len(values[0]) != len(values[1]) or not all(values):
        return claim, UNTESTABLE, "the figure is undefined in some round"
    change = change_between_pairs(
        bound=bound, in_points=False, delta=stated_pct, incumbent=values[0], candidate=values[1], look=look
    )
    if change is None:
        return claim, UNTESTABLE, "a single round"
    low, high = -change.high, -change.low
    shown = f"advantage of {RUST} over {PYTHON}: {-change.estimate:.1f} % ({low:.1f} to {high:.1f})"
    return claim, _status(low, high, stated_pct), shown


def _status(low: float, high: float, stated: float) -> str:
    if high < stated:
        return "not reproduced"
    if low > stated:
        return "larger than stated"
    return "reproduced" if low > 0 else "inconclusive"


def _steadiest(figures: Mapping[str, Figures]) -> tuple[str, str, str]:
    """The runtime with the smallest CV of the balance efficiency."""
    claim = "C3: Tokio's default runtime is the steadiest"
    runtimes = {name: own.efficiency_pct for name, own in figures.items() if name.startswith("rust-")}
    if RUST not in runtimes or len(runtimes) < 2:
        return claim, UNTESTABLE, f"needs {RUST} and other runtimes, got {', '.join(runtimes) or 'none'}"
    others = {name: values for name, values in runtimes.items() if name != RUST}
    steadiest = min(others, key=lambda name: stdev(others[name]))
    own, best = (cv_interval(values, 0.05) for values in (runtimes[RUST], others[steadiest]))
    shown = (
        f"sd {stdev(runtimes[RUST]):.2f} points; the steadiest other one is {steadiest}: {stdev(others[steadiest]):.2f}"
    )
    if own.high < best.low:
        return claim, "reproduced", shown
    return claim, "not reproduced" if best.high < own.low else "inconclusive", shown


def _ceiling(figures: Mapping[str, Figures]) -> tuple[str, str, str]:
    """The best round of the Python implementations."""
    claim = f"C5: Python's agents never balance above {CEILING_PCT:g} %"
    best = {name: max(own.efficiency_pct) for name, own in figures.items() if name.startswith("python-")}
    if not best:
        return claim, UNTESTABLE, "no Python agent was measured"
    name = max(best, key=lambda each: best[each])
    holds = best[name] <= CEILING_PCT + TOLERANCE_PCT
    return claim, "reproduced" if holds else "not reproduced", f"best round of {name}: {best[name]:.1f} %"
