"""Claims of a report checked against measured rows: reproduced, not reproduced, or not testable here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.model import (
    Baseline,
    Cell,
    Claim,
    Matrix,
    Value,
)
from pytest_llmperf.study.claims.claim_faults import reference_of
from pytest_llmperf.study.claims.claim_figures import STATISTIC, figure_of
from pytest_llmperf.study.matrices.matrix_cells import matches
from pytest_llmperf.study.rows.result_rows import Row, values_of


class Status(StrEnum):
    """The result of checking a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    NOT_TESTABLE = "not testable here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A claim with the result of checking it.

    Attributes:
        claim: the claim.
        status: the result.
        why: the reason, with the measured figure if there is one.
        value: the measured figure; None: there is none.
        low, high: its 95 % CI, from resampled rounds; None: too few rounds.
        reported: the report's figure; None: the claim is an order or a direction.
        unit: the unit of both figures.
        rounds: number of rounds used.
        simulated: whether some of them were measured on a scripted server.
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


def compare(
    matrix: Matrix,
    rows: Sequence[Row],
    card: Baseline,
    *,
    same_machine: bool,
    real_gpu: bool = False,
    skipped: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """Checks every claim of a matrix against the rows.

    Args:
        matrix: a matrix with valid claims (see `faults_of`).
        rows: the measured rows.
        card: the decision card with the report's figures.
        same_machine: whether figures of the report's hardware can be compared (also true on the simulated server, which
            plays them).
        real_gpu: whether a GPU did the work.
        skipped: why cells are missing.
    """
    lacking = {
        "machine": "" if same_machine else "the figure was measured on the report's hardware, not on this machine",
        "gpu": "" if real_gpu else "no GPU was used",
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
        why = "; ".join((f"no measured cell has {missing}", *skipped))
    if why:
        return Finding(claim=claim, status=Status.NOT_TESTABLE, why=why, reported=reported, unit=unit)
    used = [row for row in rows if matches(row.cell, claim.of) or (claim.against and matches(row.cell, claim.against))]
    try:
        if claim.figure == "order":
            return _ordered(claim, used)
        value, low, high = figure_of(claim, used)
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
    """The values that the claim needs and no row has, in words; empty if all are there."""
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
    """The values of a cell in words."""
    return " and ".join(f"{axis} {value}" for axis, value in cell.items()) or "any value"


def _holds(claim: Claim, value: float, low: float | None, high: float | None, reported: float) -> tuple[bool, str]:
    """Whether the measured figure agrees with the claim, and the expectation in words."""
    tolerance = f" (tolerance {claim.tolerance:g})" if claim.tolerance else ""
    if claim.holds == "near":
        return abs(value - reported) <= claim.tolerance, f"expected {reported:g}{tolerance}"
    if claim.holds == "at least":
        return value >= reported - claim.tolerance, f"expected at least {reported:g}{tolerance}"
    if claim.holds == "at most":
        return value <= reported + claim.tolerance, f"expected at most {reported:g}{tolerance}"
    neutral = 1.0 if claim.figure == "ratio" else 0.0
    above = reported > neutral
    side = f"{'above' if above else 'below'} {neutral:g}"
    if low is None or high is None:
        return (value > neutral) == above and value != neutral, f"expected {side}; too few rounds for an interval"
    return low > neutral if above else high < neutral, f"expected {side}, significantly"


def _ordered(claim: Claim, rows: Sequence[Row]) -> Finding:
    """Whether the groups are in the claimed order."""
    figures: dict[Value, float] = {}
    for value in claim.order:
        group = [row for row in rows if row.cell.get(claim.over) == value and matches(row.cell, claim.of)]
        figures[value] = STATISTIC[claim.statistic](values_of(group, claim.metric))
    ranked = sorted(figures, key=lambda value: -figures[value])
    return Finding(
        claim=claim,
        status=Status.REPRODUCED if tuple(ranked) == claim.order else Status.NOT_REPRODUCED,
        why=f"here {' > '.join(f'{value} ({figures[value]:.4g})' for value in ranked)}",
        rounds=len(rows),
        simulated=_simulated(rows),
    )
