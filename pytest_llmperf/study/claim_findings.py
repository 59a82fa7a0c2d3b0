"""A report's claims against our rows: reproduced, not reproduced, or not testable here, and why."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median, stdev

from pytest_llmperf.errors import MeasurementError, UsageError, one_of
from pytest_llmperf.model import (
    FIGURES,
    RELATIONS,
    STATISTICS,
    Baseline,
    Cell,
    Claim,
    Matrix,
    Reference,
    Value,
)
from pytest_llmperf.study.matrix_files import matches
from pytest_llmperf.study.result_rows import NUMERIC, Row, values_of

_RESAMPLES = 1000
_SEED = 108


class Status(StrEnum):
    """What became of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    NOT_TESTABLE = "not testable here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A claim and what our rows say of it.

    Attributes:
        claim: what was asked.
        status: see Status.
        why: one clause, with our figure where there is one.
        value: our figure; None where there is none.
        low, high: its 95 % CI, from resampled rounds; None where too few rounds support one.
        reported: the report's figure, or None where the claim is an order or a direction.
        unit: of both.
        rounds: that it rests on.
        simulated: whether a scripted server answered in some of them.
    """

    claim: Claim
    status: Status
    why: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reported: float | None = None
    unit: str = ""
    rounds: int = 0
    simulated: bool = False


def faults_of(matrix: Matrix, card: Baseline) -> tuple[str, ...]:
    """What is wrong with a matrix's claims, before anything is measured."""
    faults = [
        f"show: got {metric!r}, wanted {one_of(metric, NUMERIC)}" for metric in matrix.show if metric not in NUMERIC
    ]
    for claim in matrix.claim:
        where = f"claim {claim.id!r}"
        if claim.untestable:
            continue
        for key, value, known in (
            ("figure", claim.figure, FIGURES),
            ("statistic", claim.statistic, STATISTICS),
            ("holds", claim.holds, RELATIONS),
            ("needs", claim.needs, ("", "machine", "gpu")),
        ):
            if value not in known:
                faults.append(f"{where}: {key}: got {value!r}, wanted {one_of(value, known)}")
        if claim.metric not in NUMERIC:
            faults.append(f"{where}: metric: got {claim.metric!r}, wanted {one_of(claim.metric, NUMERIC)}")
        if claim.figure in ("difference", "change_pct", "ratio") and not claim.against:
            faults.append(f"{where}: against: missing, wanted for {claim.figure}")
        if claim.figure in ("spread", "spread_pct", "order") and not claim.over:
            faults.append(f"{where}: over: missing, wanted for {claim.figure}")
        if (claim.figure == "order") != (claim.holds == "order") or (claim.figure == "order") != bool(claim.order):
            faults.append(f"{where}: figure, holds and order: wanted all three for an order")
        if claim.holds != "order" and (claim.limit is None) == (not claim.reference):
            faults.append(f"{where}: reference and limit: wanted one of them")
        try:
            reference_of(claim, card)
        except UsageError as error:
            faults.append(f"{where}: {error.args[0]}")
    return tuple(faults)


def reference_of(claim: Claim, card: Baseline) -> Reference | None:
    """The row of the decision card that a claim names; None where it names none.

    Raises:
        UsageError: no row, or several.
    """
    if not claim.reference:
        return None
    wanted = dict(claim.reference)
    parts = {key: wanted.pop(key) for key in ("source", "context") if key in wanted}
    if odd := sorted(set(wanted) - {"report", "metric", "statistic"}):
        raise UsageError(f"reference: unknown key {', '.join(odd)}")
    found = [
        row
        for row in card.reference
        if all(getattr(row, key) == value for key, value in wanted.items())
        and all(value in getattr(row, key) for key, value in parts.items())
    ]
    if len(found) != 1:
        named = "; ".join(f"{row.context} ({row.source})" for row in found[:4])
        raise UsageError(f"reference: {len(found)} rows of the decision card match, wanted 1: {named or 'none'}")
    return found[0]


def compare(
    matrix: Matrix,
    rows: Sequence[Row],
    card: Baseline,
    *,
    same_machine: bool,
    real_gpu: bool = False,
    skipped: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """Every claim of a matrix against the rows.

    Args:
        matrix: whose claims; they are well-formed (`faults_of`).
        rows: that were measured.
        card: the decision card, which holds the report's figures.
        same_machine: whether figures of the report's hardware mean something here (on the simulated server they are
            played, so that they do).
        real_gpu: whether a GPU did the work, not a script.
        skipped: why cells are missing, for the reader.
    """
    lacking = {
        "machine": "" if same_machine else "the figure is of the report's hardware, not of this",
        "gpu": "" if real_gpu else "no GPU did the work",
    }
    return tuple(
        _compare(claim, rows, card, lacking=lacking.get(claim.needs, ""), skipped=skipped) for claim in matrix.claim
    )


def _compare(claim: Claim, rows: Sequence[Row], card: Baseline, *, lacking: str, skipped: Sequence[str]) -> Finding:
    if claim.untestable:
        return Finding(claim=claim, status=Status.NOT_TESTABLE, why=claim.untestable)
    reference = reference_of(claim, card)
    reported = claim.limit if reference is None else reference.value
    unit = reference.unit if reference is not None else ""
    rows = [row for row in rows if row.client_saturated == claim.saturated]
    why = lacking
    missing = _missing(claim, rows)
    if not why and missing:
        why = "; ".join((f"no cell has {missing}", *skipped))
    if why:
        return Finding(claim=claim, status=Status.NOT_TESTABLE, why=why, reported=reported, unit=unit)
    used = [row for row in rows if matches(row.cell, claim.of) or (claim.against and matches(row.cell, claim.against))]
    try:
        if claim.figure == "order":
            return _ordered(claim, used)
        value, low, high = _figure(claim, used)
    except MeasurementError as error:
        return Finding(claim=claim, status=Status.NOT_TESTABLE, why=str(error.args[0]), reported=reported, unit=unit)
    assert reported is not None  # faults_of
    holds, words = _holds(claim, value, low, high, reported)
    interval = "" if low is None or high is None else f", 95 % CI {low:.4g} to {high:.4g}"
    return Finding(
        claim=claim,
        status=Status.REPRODUCED if holds else Status.NOT_REPRODUCED,
        why=f"{value:.4g} here{interval}; {words}",
        value=value,
        low=low,
        high=high,
        reported=reported,
        unit=unit,
        rounds=len(used),
        simulated=_simulated(used),
    )


def _simulated(rows: Sequence[Row]) -> bool:
    return any(row.backend == "simulated" for row in rows)


def _missing(claim: Claim, rows: Sequence[Row]) -> str:
    """What no row has that the claim is about, in words; empty where all is there."""
    for wanted in (claim.of, claim.against):
        if not any(matches(row.cell, wanted) for row in rows):
            return config_words(wanted)
    if claim.over:
        there = {row.cell.get(claim.over) for row in rows if matches(row.cell, claim.of)} - {None}
        if lacking := [value for value in claim.order if value not in there]:
            return f"{claim.over} {', '.join(map(str, lacking))}"
        if len(there) < 2:
            return f"a second value of {claim.over}"
    return ""


def config_words(cell: Cell) -> str:
    """Values by axis, in words."""
    return " and ".join(f"{axis} {value}" for axis, value in cell.items()) or "been measured"


_STATISTIC: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": fmean,
    "median": median,
    "min": min,
    "max": max,
    "sd": lambda values: _sd(values, "standard deviation"),
    "variance": lambda values: _sd(values, "variance") ** 2,
    "cv_pct": lambda values: 100 * _ratio((_sd(values, "coefficient of variation"), fmean(values))),
}


def _sd(values: Sequence[float], what: str) -> float:
    if len(values) < 2:
        raise MeasurementError(f"one round has no {what}")
    return stdev(values)


def _figure(claim: Claim, rows: Sequence[Row]) -> tuple[float, float | None, float | None]:
    """Our figure with its interval."""
    compute = _COMPUTE[claim.figure]
    statistic = _STATISTIC[claim.statistic]
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
    """The rows that the claim compares: one selection, two, or one a value of an axis."""
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


def _holds(claim: Claim, value: float, low: float | None, high: float | None, reported: float) -> tuple[bool, str]:
    """Whether our figure stands to the report's as the claim says, and in which words."""
    give = f" give or take {claim.tolerance:g}" if claim.tolerance else ""
    if claim.holds == "near":
        return abs(value - reported) <= claim.tolerance, f"wanted {reported:g}{give}"
    if claim.holds == "at least":
        return value >= reported - claim.tolerance, f"wanted at least {reported:g}{give}"
    if claim.holds == "at most":
        return value <= reported + claim.tolerance, f"wanted at most {reported:g}{give}"
    neutral = 1.0 if claim.figure == "ratio" else 0.0
    above = reported > neutral
    side = f"{'above' if above else 'below'} {neutral:g}"
    if low is None or high is None:
        return (value > neutral) == above and value != neutral, f"wanted {side}; too few rounds for an interval"
    return low > neutral if above else high < neutral, f"wanted {side} beyond doubt"


def _ordered(claim: Claim, rows: Sequence[Row]) -> Finding:
    """Whether the groups stand in the claimed order."""
    figures: dict[Value, float] = {}
    for value in claim.order:
        group = [row for row in rows if row.cell.get(claim.over) == value and matches(row.cell, claim.of)]
        figures[value] = _STATISTIC[claim.statistic](values_of(group, claim.metric))
    ranked = sorted(figures, key=lambda value: -figures[value])
    return Finding(
        claim=claim,
        status=Status.REPRODUCED if tuple(ranked) == claim.order else Status.NOT_REPRODUCED,
        why=f"here {' > '.join(f'{value} ({figures[value]:.4g})' for value in ranked)}",
        rounds=len(rows),
        simulated=_simulated(rows),
    )
