"""The results of an experiment (rows, records, findings) and their files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmperf.errors import LlmperfError, MeasurementError, UsageError, did_you_mean
from pytest_llmperf.files.atomic_write import advice, write_whole
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.stats.summary import Summary, summarise
from pytest_llmperf.model import Cell, Matrix, Value
from pytest_llmperf.study.claims.claim_findings import Finding
from pytest_llmperf.study.matrices.matrix_cells import PROMPT, matches
from pytest_llmperf.study.rows import axis_effects
from pytest_llmperf.study.rows.result_rows import Row, as_csv, values_of
from pytest_llmperf.study.sweeps.sweep_journal import ELSEWHERE

FINDING_COLUMNS = (
    "id",
    "status",
    "claim",
    "source",
    "reported",
    "here",
    "low",
    "high",
    "unit",
    "rounds",
    "why",
    "backend",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The results of a matrix.

    Attributes:
        matrix: the matrix as read from the file.
        rows: one per round, in the order of the cells.
        records: one per cell, with every raw timing.
        skipped: cells or axes that cannot be measured here, with the reason.
        failed: cells whose measurement failed, with the reason; the same command tries them again.
        untried: number of cells left because the servers had failed.
        notes: notes on finished cells of an earlier run that do not count.
        findings: one per claim.
        resumed: number of cells that an earlier run had finished.
        profile: the profile of the matrix, in words; empty: none.
        transfers: warnings that the profile is for another mode than some cells' agents.
    """

    matrix: Matrix
    rows: tuple[Row, ...]
    records: tuple[Record, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    untried: int = 0
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    resumed: int = 0
    profile: str = ""
    transfers: tuple[str, ...] = ()

    @property
    def counted(self) -> tuple[Row, ...]:
        """The rows of rounds that count, that is, without a saturated client."""
        return tuple(row for row in self.rows if not row.client_saturated)

    def select(self, **cell: Value) -> tuple[Row, ...]:
        """The rows of the cells with these values."""
        return tuple(row for row in self.rows if matches(row.cell, cell))

    def summary(self, metric: str, **cell: Value) -> Summary:
        """Mean, median, standard deviation and the rest of a column over the rounds of these cells.

        Raises:
            UsageError: no such column.
            MeasurementError: no such cell, or the metric is undefined in some round.
        """
        return summarise(values_of(self._of(cell), metric))

    def mean(self, metric: str, **cell: Value) -> float:
        """Mean of a column over the rounds of these cells; raises as `summary` does."""
        return self.summary(metric, **cell).mean

    def ranking(self, axis: str, metric: str) -> tuple[tuple[Value, float], ...]:
        """The values of an axis with the metric's mean, the largest first; raises as `summary` does, or as `_along`."""
        return axis_effects.ranking(self._along(axis), axis, metric)

    def consistency(self, axis: str, metric: str) -> tuple[axis_effects.Group, ...]:
        """The values of an axis, the most consistent first; raises as `ranking` does."""
        return axis_effects.consistency(self._along(axis), axis, metric)

    def split(self, **cell: Value) -> axis_effects.Split:
        """The phases of the wall time in these cells; raises as `summary` does."""
        return axis_effects.split(self._of(cell))

    def _of(self, cell: Cell) -> tuple[Row, ...]:
        """The rows of these cells, at least one."""
        if rows := self.select(**cell):
            return rows
        wanted = " and ".join(f"{axis} {value}" for axis, value in cell.items())
        there = {axis: dict.fromkeys(row.cell[axis] for row in self.rows if axis in row.cell) for axis in cell}
        known = "; ".join(f"{axis}: {', '.join(map(str, values)) or 'no axis'}" for axis, values in there.items())
        raise MeasurementError(
            f"experiment {self.matrix.name} measured no cell of {wanted}{self._missing()}",
            next_step=f"use measured values: {known}",
        )

    def _along(self, axis: str) -> tuple[Row, ...]:
        """The rows that count; raises UsageError unless some have this axis."""
        if any(axis in row.cell for row in self.counted):
            return self.counted
        known = ", ".join(dict.fromkeys(axis for row in self.counted for axis in row.cell)) or "none was measured"
        raise UsageError(
            f"experiment {self.matrix.name} measured no axis {axis!r}{self._missing()}",
            next_step=f"use an axis that was measured: {known}",
        )

    def _missing(self) -> str:
        """Everything that was not measured, with reasons."""
        return "".join(f"; {subject}: {why}" for subject, why in {**self.skipped, **self.failed}.items())

    def effects(self, metric: str) -> tuple[axis_effects.Effect, ...]:
        """The effect of each axis on a metric, over the product of the axes; raises as `summary` does."""
        crossed = {axis for axis in self.matrix.axes if any(axis in row.cell for row in self.rows)}
        crossed.update({PROMPT} if len(self.matrix.prompts) > 1 else ())
        rows = [row for row in self.counted if set(row.cell) == crossed]
        return axis_effects.effects(rows or self.counted, metric)

    @property
    def singles(self) -> tuple[Row, ...]:
        """The rows of cells beside the product of the axes."""
        if not self.matrix.axes:
            return ()
        return tuple(row for row in self.counted if any(matches(row.cell, cell) for cell in self.matrix.cell))

    def finding(self, id_: str) -> Finding:
        """The finding for a claim.

        Raises:
            UsageError: the matrix has no claim of that id.
        """
        for finding in self.findings:
            if finding.claim.id == id_:
                return finding
        known = [finding.claim.id for finding in self.findings]
        raise UsageError(
            f"matrix {self.matrix.name} has no claim {id_!r}{did_you_mean(id_, known)}",
            next_step=f"use one of {', '.join(known)}",
        )


def write(results: Results, folder: Path) -> tuple[Path, ...]:
    """Writes `NAME.csv`, a line per round, and `NAME.findings.csv`, a line per claim; each completely or not at all.

    Raises:
        LlmperfError: a file cannot be written.
    """
    texts = {folder / f"{results.matrix.name}.csv": as_csv(results.rows)}
    if results.findings:
        texts[folder / f"{results.matrix.name}.findings.csv"] = _findings_as_csv(results)
    for path, text in texts.items():
        try:
            write_whole(path, text)
        except OSError as error:
            raise LlmperfError(f"cannot write {path}: {error}", next_step=advice(error, ELSEWHERE)) from error
    return tuple(texts)


def _findings_as_csv(results: Results) -> str:
    backend = ", ".join(dict.fromkeys(row.backend for row in results.rows))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FINDING_COLUMNS)
    for finding in results.findings:
        figures = [finding.reported, finding.value, finding.low, finding.high]
        writer.writerow(
            [finding.claim.id, str(finding.status), finding.claim.claim, finding.claim.source]
            + ["" if figure is None else figure for figure in figures]
            + [finding.unit, finding.rounds, finding.why, backend]
        )
    return out.getvalue()
