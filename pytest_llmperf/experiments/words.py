"""What an experiment gave, in the lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.experiments.findings import Finding
from pytest_llmperf.experiments.results import Results


def summary(results: Results, folder: Path) -> tuple[str, ...]:
    """Where the rows lie, what was left out, what ranks how, what matters how much, and every finding.

    Args:
        results: of the experiment.
        folder: that they were written to.
    """
    return tuple(_lines(results, folder))


def _lines(results: Results, folder: Path) -> Iterator[str]:
    matrix = results.matrix
    cells = f"{len(results.records)} cell{'' if len(results.records) == 1 else 's'}"
    rounds = f"{len(results.rows)} round{'' if len(results.rows) == 1 else 's'}"
    earlier = f", {results.resumed} of them finished by an earlier run" if results.resumed else ""
    yield f"experiment {matrix.name}: {cells}{earlier}, {rounds}: {folder / matrix.name}.csv"
    if any(record.measurement.topology.simulated for record in results.records):
        yield "  SIMULATED: a scripted server answered; no figure is of a real engine"
    for what, why in results.skipped.items():
        yield f"  not measured: {what}: {why}"
    for metric in matrix.show:
        try:
            yield from _of_metric(results, metric)
        except MeasurementError as error:
            yield f"  {metric}: {error.args[0]}"
    for finding in results.findings:
        yield f"  {_finding(finding)}"


def _of_metric(results: Results, metric: str) -> Iterator[str]:
    """How the values of each axis rank, and how much the axes matter."""
    effects = results.effects(metric)
    for effect in effects:
        if effect.best is not None:
            ranks = ", ".join(f"{value} {mean:.4g}" for value, mean in results.ranking(effect.axis, metric))
            yield f"  {metric} by {effect.axis}: {ranks}"
    if len(effects) > 1:
        shares = ", ".join(f"{effect.axis} {effect.share_pct:.0f} %" for effect in effects)
        yield f"  variance of {metric}: {shares}"


def _finding(finding: Finding) -> str:
    claim = finding.claim
    stated = (
        "" if finding.reported is None or not claim.reference else f"; reported: {finding.reported:g} {finding.unit}"
    )
    return f"{finding.status}: {claim.claim} ({claim.source}): {finding.why}{stated}"
