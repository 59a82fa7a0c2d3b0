"""The curve of an experiment over numbers of agents: figures by size, the law, and findings in words."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.model import Cell
from pytest_llmperf.study.matrices.matrix_cells import AGENTS, config_name
from pytest_llmperf.study.rows.result_rows import Row
from pytest_llmperf.study.scaling.scaling_law import Growth, ScalingLaw, fit_scaling_law


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Medians over the rounds with a number of agents; None: undefined in some round.

    Attributes:
        curve: name of the curve.
        agents: the number.
        rounds: that count.
        system_tok_s, low_tok_s, high_tok_s: system throughput, its median, smallest and largest, tok/s.
        decode_tok_s: decode throughput of the slowest agent, tok/s.
        ttft_ms: of the worst request of a round, ms.
        most_ttft_ms: of the worst request of all rounds, ms.
        balance_pct, scaling_pct: balance and scaling efficiency, %; None for a single agent.
        contended_pct: share of contended rounds, %; None for a single agent.
        vram_mb: peak VRAM, MB.
        fitted_tok_s, fit_low_tok_s, fit_high_tok_s: system throughput by the law and its 95 % band; None without a law.
    """

    curve: str
    agents: int
    rounds: int
    system_tok_s: float
    low_tok_s: float
    high_tok_s: float
    decode_tok_s: float | None
    ttft_ms: float | None
    most_ttft_ms: float | None
    balance_pct: float | None
    scaling_pct: float | None
    contended_pct: float | None
    vram_mb: float | None
    fitted_tok_s: float | None = None
    fit_low_tok_s: float | None = None
    fit_high_tok_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """System throughput by number of agents in otherwise equal cells.

    Attributes:
        name: of the cells, e.g. the topology.
        sizes: the smallest first.
        law: None: not fitted.
        why: the reason why it was not.
    """

    name: str
    sizes: tuple[Size, ...]
    law: ScalingLaw | None = None
    why: str = ""


def curves_of(rows: Sequence[Row]) -> tuple[Curve, ...]:
    """A curve for all cells that differ only in the number of agents; none if no cell has the axis `agents`.

    Args:
        rows: rounds that count.
    """
    groups: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        if AGENTS in row.cell and row.system_tok_s is not None:
            others: Cell = {axis: value for axis, value in row.cell.items() if axis != AGENTS}
            groups.setdefault(config_name(others), {}).setdefault(row.agents, []).append(row)
    return tuple(_curve(name, dict(sorted(sizes.items()))) for name, sizes in groups.items())


def _curve(name: str, sizes: Mapping[int, Sequence[Row]]) -> Curve:
    rates = {agents: [row.system_tok_s or 0.0 for row in rows] for agents, rows in sizes.items()}
    try:
        law, why = fit_scaling_law(rates), ""
    except MeasurementError as error:
        law, why = None, str(error.args[0])
    return Curve(name=name, sizes=tuple(_size(name, rows, law) for rows in sizes.values()), law=law, why=why)


def _size(name: str, rows: Sequence[Row], law: ScalingLaw | None) -> Size:
    rates = _column(rows, "system_tok_s")
    contended = _column(rows, "contention_detected")
    ttfts = _column(rows, "ttft_ms")
    point = None if law is None else min(law.curve, key=lambda point: abs(point.agents - rows[0].agents))
    return Size(
        curve=name,
        agents=rows[0].agents,
        rounds=len(rows),
        system_tok_s=median(rates),
        low_tok_s=min(rates),
        high_tok_s=max(rates),
        decode_tok_s=_median(rows, "throughput_tok_s"),
        ttft_ms=_median(rows, "ttft_ms"),
        most_ttft_ms=max(ttfts) if ttfts else None,
        balance_pct=_median(rows, "parallel_efficiency_pct"),
        scaling_pct=_median(rows, "scaling_efficiency_pct"),
        contended_pct=100 * math.fsum(contended) / len(contended) if contended else None,
        vram_mb=_median(rows, "vram_mb"),
        fitted_tok_s=None if point is None else point.fitted,
        fit_low_tok_s=None if point is None else point.low,
        fit_high_tok_s=None if point is None else point.high,
    )


def _column(rows: Sequence[Row], column: str) -> list[float]:
    """The values of a column; none if it is undefined in some round."""
    values = [getattr(row, column) for row in rows]
    return [] if None in values else [float(value) for value in values]


def _median(rows: Sequence[Row], column: str) -> float | None:
    values = _column(rows, column)
    return median(values) if values else None


def curve_lines(curves: Sequence[Curve]) -> Iterator[str]:
    """A table of each curve, and what the rounds show of its growth."""
    for curve in curves:
        yield f"scaling of {curve.name}:"
        yield (
            f"  {'agents':>6} {'system tok/s':>12} {'agent tok/s':>11} {'TTFT ms':>8} {'balance':>8} {'scaling':>8} "
            f"{'contended':>9}"
        )
        for size in curve.sizes:
            yield (
                f"  {size.agents:>6} {size.system_tok_s:>12.1f} {_figure(size.decode_tok_s):>11} "
                f"{_figure(size.ttft_ms):>8} {_figure(size.balance_pct, ' %'):>8} {_figure(size.scaling_pct, ' %'):>8} "
                f"{_figure(size.contended_pct, ' %', 0):>9}"
            )
        yield from (f"  {finding}" for finding in findings_of(curve))


def findings_of(curve: Curve) -> tuple[str, ...]:
    """What the rounds show: kind of growth, departure from the law, most throughput, contention and coherency."""
    law = curve.law
    if law is None:
        return (curve.why,)
    least, most = curve.sizes[0].agents, curve.sizes[-1].agents
    if law.misfit is not None:
        way = "above" if law.misfit.departure_pct > 0 else "below"
        return (
            f"throughput from {least} to {most} agents follows no smooth law: it changes at about {law.misfit.agents} "
            f"agents, {abs(law.misfit.departure_pct):.0f} % {way} the law there",
        )
    share, possible = 100 * law.efficiency, law.efficiency_interval
    return (
        f"throughput {_GROWTH[law.growth]} from {least} to {most} agents: with {most}, each has {share:.0f} % of the "
        f"throughput of one alone (95 % CI {100 * possible.low:.0f} to {100 * possible.high:.0f} %)",
        _peak_in_words(law, most),
        f"contention {100 * law.contention:.1f} % (95 % CI {100 * law.contention_interval.low:.1f} to "
        f"{100 * law.contention_interval.high:.1f} %), coherency {100 * law.coherency:.2f} % (95 % CI "
        f"{100 * law.coherency_interval.low:.2f} to {100 * law.coherency_interval.high:.2f} %)",
    )


_GROWTH = {
    Growth.LINEAR: "grows linearly",
    Growth.SATURATING: "saturates",
    Growth.RETROGRADE: "grows, then falls",
    Growth.UNDECIDED: "grows, linearly or less (more rounds would tell),",
}


def _peak_in_words(law: ScalingLaw, most: int) -> str:
    """The number of agents of most throughput, if it is among those that were measured."""
    if law.growth is not Growth.RETROGRADE:
        return f"no fall of throughput is shown up to {most} agents"
    low, high = law.peak_interval.low, law.peak_interval.high
    return f"most throughput with about {law.peak:.1f} agents (95 % CI {low:.1f} to {high:.1f})"


def _figure(value: float | None, unit: str = "", digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def curves_as_csv(curves: Sequence[Curve]) -> str:
    """A line for each curve and number of agents; undefined figures are empty."""
    out = io.StringIO()
    names = [field.name for field in fields(Size)]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for curve in curves:
        for size in curve.sizes:
            values = [getattr(size, name) for name in names]
            writer.writerow("" if value is None else value for value in values)
    return out.getvalue()
