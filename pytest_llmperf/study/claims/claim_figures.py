"""The figure that a claim is about, computed from rows, with its 95 % confidence interval."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import fmean, median, stdev

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.model import (
    Claim,
)
from pytest_llmperf.study.matrices.matrix_cells import matches
from pytest_llmperf.study.rows.result_rows import Row, values_of

_RESAMPLES = 1000
_SEED = 108


STATISTIC: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": fmean,
    "median": median,
    "min": min,
    "max": max,
    "sd": lambda values: _sd(values, "standard deviation"),
    "variance": lambda values: _sd(values, "variance") ** 2,
    "cv_pct": lambda values: 100 * _ratio((_sd(values, "coefficient of variation"), fmean(values))),
}


def _sd(values: Sequence[float], statistic: str) -> float:
    if len(values) < 2:
        raise MeasurementError(f"a single round has no {statistic}")
    return stdev(values)


def figure_of(claim: Claim, rows: Sequence[Row]) -> tuple[float, float | None, float | None]:
    """The measured figure with its interval."""
    compute = _COMPUTE[claim.figure]
    statistic = STATISTIC[claim.statistic]
    groups = [_strata(group, claim.metric) for group in _selections(claim, rows)]

    def figure(of: Sequence[Sequence[Sequence[float]]]) -> float:
        return compute([statistic([value for stratum in group for value in stratum]) for group in of])

    value = figure(groups)
    if not math.isfinite(value):
        raise MeasurementError(f"{claim.figure} of {claim.metric} is undefined: its base is 0")
    if any(len(stratum) < 3 for group in groups for stratum in group):
        return value, None, None
    chance = random.Random(_SEED)
    drawn = sorted(
        figure([[chance.choices(stratum, k=len(stratum)) for stratum in group] for group in groups])
        for _ in range(_RESAMPLES)
    )
    return value, drawn[int(0.025 * _RESAMPLES)], drawn[int(0.975 * _RESAMPLES) - 1]


def _selections(claim: Claim, rows: Sequence[Row]) -> list[list[Row]]:
    """The rows that the claim compares: one selection, two, or one per value of an axis."""
    of = [row for row in rows if matches(row.cell, claim.of)]
    if claim.over:
        values = dict.fromkeys(row.cell[claim.over] for row in of if claim.over in row.cell)
        return [[row for row in of if row.cell.get(claim.over) == value] for value in values]
    if claim.against:
        return [of, [row for row in rows if matches(row.cell, claim.against)]]
    return [of]


def _strata(rows: Sequence[Row], metric: str) -> list[tuple[float, ...]]:
    """Values by cell."""
    cells: dict[str, list[Row]] = {}
    for row in rows:
        cells.setdefault(repr(sorted(row.cell.items(), key=str)), []).append(row)
    return [values_of(group, metric) for group in cells.values()]


def _change_pct(values: Sequence[float]) -> float:
    return 100 * (values[0] / values[1] - 1) if values[1] else math.inf


def _ratio(values: Sequence[float]) -> float:
    return values[0] / values[1] if values[1] else math.inf


def _spread_pct(values: Sequence[float]) -> float:
    middle = math.fsum(values) / len(values)
    return 100 * (max(values) - min(values)) / middle if middle else math.inf


_COMPUTE: dict[str, Callable[[Sequence[float]], float]] = {
    "value": lambda values: values[0],
    "difference": lambda values: values[0] - values[1],
    "change_pct": _change_pct,
    "ratio": _ratio,
    "spread": lambda values: max(values) - min(values),
    "spread_pct": _spread_pct,
}
