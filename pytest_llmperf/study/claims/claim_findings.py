"""A report's claims against our rows: reproduced, not reproduced, or not testable here, and why."""

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
        figures[value] = STATISTIC[claim.statistic](values_of(group, claim.metric))
    ranked = sorted(figures, key=lambda value: -figures[value])
    return Finding(
        claim=claim,
        status=Status.REPRODUCED if tuple(ranked) == claim.order else Status.NOT_REPRODUCED,
        why=f"here {' > '.join(f'{value} ({figures[value]:.4g})' for value in ranked)}",
        rounds=len(rows),
        simulated=_simulated(rows),
    )
