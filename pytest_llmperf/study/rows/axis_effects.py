"""Figures over rows: rankings, consistency, phases, and the effect of each axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_llmperf.judge.stats.summary import summarise
from pytest_llmperf.model import Value
from pytest_llmperf.study.rows.result_rows import Row, values_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The effect of an axis on a metric.

    Attributes:
        axis: the name of the axis; `residual` for noise and interactions, which no single axis explains.
        share_pct: share of the metric's variance over all rounds, %.
        best, worst: the values of the axis with the largest and the smallest mean; None for the residual.
        spread_pct: difference of these means, percent of the overall mean; None for the residual.
    """

    axis: str
    share_pct: float
    best: Value | None = None
    worst: Value | None = None
    spread_pct: float | None = None


def ranking(rows: Sequence[Row], axis: str, metric: str) -> tuple[tuple[Value, float], ...]:
    """The values of an axis with the metric's mean over their rounds, the largest first.

    Raises:
        UsageError: no such column.
        MeasurementError: the metric is undefined in some round.
    """
    groups: dict[Value, list[Row]] = {}
    for row in rows:
        if axis in row.cell:
            groups.setdefault(row.cell[axis], []).append(row)
    means = [(value, fmean(values_of(group, metric))) for value, group in groups.items()]
    return tuple(sorted(means, key=lambda pair: -pair[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A metric over the rounds of one value of an axis.

    Attributes:
        value: the value of the axis.
        mean, sd, min: mean, standard deviation and minimum of the metric; sd is None for a single round.
    """

    value: Value
    mean: float
    sd: float | None
    min: float


def consistency(rows: Sequence[Row], axis: str, metric: str) -> tuple[Group, ...]:
    """The values of an axis, the smallest standard deviation first (TR115 ranks runtimes so).

    Raises:
        UsageError: no such column.
        MeasurementError: the metric is undefined in some round.
    """
    groups = []
    for value in dict.fromkeys(row.cell[axis] for row in rows if axis in row.cell):
        figures = summarise(values_of([row for row in rows if row.cell.get(axis) == value], metric))
        groups.append(Group(value=value, mean=figures.mean, sd=figures.sd, min=figures.min))
    return tuple(sorted(groups, key=lambda group: math.inf if group.sd is None else group.sd))


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The phases of an agent's wall time, percent; the rest is client and network.

    Attributes:
        own_pct: the agent's own work outside its requests.
        waiting_pct: the server loads the model or serves others.
        prefill_pct, decode_pct: the server reads the prompt and generates the answer.
    """

    own_pct: float
    waiting_pct: float
    prefill_pct: float
    decode_pct: float


def split(rows: Sequence[Row]) -> Split:
    """The phases of these rounds' wall time, as the mean over agents.

    Raises:
        MeasurementError: a duration is undefined in some round: some servers report none.
    """
    wall_ms = math.fsum(1000 * row.total_time_s for row in rows)

    def share(*columns: str) -> float:
        parts = (values_of(rows, column) for column in columns)
        each = [row.requests / row.agents for row in rows]
        return 100 * math.fsum(ms * count for values in parts for ms, count in zip(values, each, strict=True)) / wall_ms

    return Split(
        own_pct=100 * math.fsum(values_of(rows, "own_ms")) / wall_ms,
        waiting_pct=share("load_ms", "queue_ms"),
        prefill_pct=share("prefill_ms"),
        decode_pct=share("decode_ms"),
    )


def effects(rows: Sequence[Row], metric: str) -> tuple[Effect, ...]:
    """The share of the metric's variance explained by each axis (eta squared), the largest first, the residual last.

    Shares add up to 100 % if every combination was measured equally often; in other designs axes overlap, and the
    residual is floored at 0.

    Args:
        rows: at least one row.
        metric: a column.

    Raises:
        UsageError: no such column.
        MeasurementError: the metric is undefined in some round.
    """
    values = values_of(rows, metric)
    middle = fmean(values)
    total = math.fsum((value - middle) ** 2 for value in values)
    shares = []
    for axis in dict.fromkeys(axis for row in rows for axis in row.cell):
        groups: dict[Value, list[float]] = {}
        for row, value in zip(rows, values, strict=True):
            if axis in row.cell:
                groups.setdefault(row.cell[axis], []).append(value)
        if len(groups) < 2:
            continue
        between = math.fsum(len(group) * (fmean(group) - middle) ** 2 for group in groups.values())
        means = sorted(groups, key=lambda value: fmean(groups[value]))
        spread = fmean(groups[means[-1]]) - fmean(groups[means[0]])
        shares.append(
            Effect(
                axis=axis,
                share_pct=100 * between / total if total else 0.0,
                best=means[-1],
                worst=means[0],
                spread_pct=100 * spread / middle if middle else None,
            )
        )
    shares.sort(key=lambda effect: -effect.share_pct)
    rest = max(0.0, 100 - math.fsum(effect.share_pct for effect in shares))
    return (*shares, Effect(axis="residual", share_pct=rest))
