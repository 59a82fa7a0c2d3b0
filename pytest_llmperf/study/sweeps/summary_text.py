"""The results of an experiment in lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.model import Mode
from pytest_llmperf.model.texts import counted
from pytest_llmperf.study.claims.claim_findings import Finding
from pytest_llmperf.study.matrices.matrix_cells import config_name
from pytest_llmperf.study.rows.result_rows import values_of
from pytest_llmperf.study.sweeps.study_results import Results

_MOST_SPLITS = 6
"""With more cells, only the CSV has their phases."""


def summary(results: Results, folder: Path) -> tuple[str, ...]:
    """The file of the rows, cells that were left out, rankings, effects of axes, and every finding.

    Args:
        results: the results of the experiment.
        folder: the folder that they were written to.
    """
    return tuple(_lines(results, folder))


def failed_cells_error(name: str, failed: Mapping[str, str], *, done: int, untried: int = 0) -> MeasurementError:
    """The error for cells that could not be measured, with reasons, and what happened to the others."""
    parts = (
        f"experiment {name}: {counted(len(failed), 'cell')} could not be measured",
        f"{counted(done, 'finished cell')} kept" if done else "",
        f"{untried} not tried, because two in a row failed on their servers" if untried else "",
    )
    return MeasurementError(
        "\n  ".join(("; ".join(filter(None, parts)), *(f"{cell}: {why}" for cell, why in failed.items()))),
        next_step="correct the matrix or the server; the same command then measures only these cells",
    )


def _lines(results: Results, folder: Path) -> Iterator[str]:
    matrix = results.matrix
    cells, rounds = counted(len(results.records), "cell"), counted(len(results.rows), "round")
    earlier = f", {results.resumed} of them finished by an earlier run" if results.resumed else ""
    yield f"experiment {matrix.name}: {cells}{earlier}, {rounds}: {folder / matrix.name}.csv"
    if any(record.measurement.topology.simulated for record in results.records):
        yield "  SIMULATED: measured on a scripted server, not on a real engine"
    if results.profile:
        yield f"  {results.profile}"
    yield from (f"  {note}" for note in results.notes)
    for subject, why in results.failed.items():
        yield f"  FAILED: {subject}: {why}"
    if results.untried:
        yield f"  not tried: {results.untried} more"
    for subject, why in results.skipped.items():
        yield f"  not measured: {subject}: {why}"
    if matrix.mode == Mode.AGENT_WORKFLOW:
        yield from _splits(results)
    for metric in matrix.show:
        try:
            yield from _of_metric(results, metric)
        except MeasurementError as error:
            yield f"  {metric}: {error.args[0]}"
    for finding in results.findings:
        yield f"  {_finding(finding)}"


def _of_metric(results: Results, metric: str) -> Iterator[str]:
    """A ranking of each axis, and the share of each axis in the variance."""
    effects = results.effects(metric)
    for effect in effects:
        if effect.axis == "runtime":
            yield f"  {metric} by runtime, the most consistent first: {_steadiness(results, metric)}"
        elif effect.best is not None:
            ranks = ", ".join(f"{value} {mean:.4g}" for value, mean in results.ranking(effect.axis, metric))
            yield f"  {metric} by {effect.axis}: {ranks}"
    if singles := {config_name(row.cell): None for row in results.singles}:
        rows = {name: [row for row in results.singles if config_name(row.cell) == name] for name in singles}
        means = ", ".join(f"{name} {fmean(values_of(group, metric)):.4g}" for name, group in rows.items())
        yield f"  {metric} of single cells: {means}"
    if len(effects) > 1:
        shares = ", ".join(f"{effect.axis} {effect.share_pct:.0f} %" for effect in effects)
        yield f"  variance of {metric}: {shares}"


def _steadiness(results: Results, metric: str) -> str:
    groups = results.consistency("runtime", metric)
    return ", ".join(
        f"{group.value} {group.mean:.4g}" + ("" if group.sd is None else f" (sd {group.sd:.2g}, min {group.min:.4g})")
        for group in groups
    )


def _splits(results: Results) -> Iterator[str]:
    """The phases of each cell's wall time."""
    cells = {config_name(row.cell): row.cell for row in results.counted}
    for cell in cells.values() if len(cells) <= _MOST_SPLITS else ():
        try:
            split = results.split(**cell)
        except MeasurementError as error:
            yield f"  wall time of {config_name(cell)}: {error.args[0]}"
            continue
        seconds = results.mean("total_time_s", **cell)
        yield (
            f"  wall time of {config_name(cell)}: {seconds:.2f} s: own work {split.own_pct:.0f} %, waiting "
            f"{split.waiting_pct:.0f} %, prefill {split.prefill_pct:.0f} %, decode {split.decode_pct:.0f} %"
        )


def _finding(finding: Finding) -> str:
    claim = finding.claim
    stated = (
        "" if finding.reported is None or not claim.reference else f"; reported: {finding.reported:g} {finding.unit}"
    )
    return f"{finding.status}: {claim.claim} ({claim.source}): {finding.why}{stated}"
