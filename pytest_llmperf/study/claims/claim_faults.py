"""Checks of a matrix's claims before anything is measured."""

from __future__ import annotations

from pytest_llmperf.errors import UsageError, one_of
from pytest_llmperf.model import (
    FIGURES,
    RELATIONS,
    STATISTICS,
    Baseline,
    Claim,
    Matrix,
    Reference,
)
from pytest_llmperf.study.rows.result_rows import NUMERIC


def faults_of(matrix: Matrix, card: Baseline) -> tuple[str, ...]:
    """The faults of a matrix's claims."""
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
    """The row of the decision card that a claim names; None if it names none.

    Raises:
        UsageError: no row, or several.
    """
    if not claim.reference:
        return None
    wanted = dict(claim.reference)
    parts = {key: wanted.pop(key) for key in ("source", "context") if key in wanted}
    if odd := sorted(set(wanted) - {"report", "metric", "statistic"}):
        raise UsageError(f"reference: unknown key {', '.join(odd)}")
    matching = [
        row
        for row in card.reference
        if all(getattr(row, key) == value for key, value in wanted.items())
        and all(value in getattr(row, key) for key, value in parts.items())
    ]
    if len(matching) != 1:
        named = "; ".join(f"{row.context} ({row.source})" for row in matching[:4])
        raise UsageError(f"reference: {len(matching)} rows of the decision card match, wanted 1: {named or 'none'}")
    return matching[0]
