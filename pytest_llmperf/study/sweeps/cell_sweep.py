"""Measures the cells of a matrix one after the other; servers are restarted only if a cell needs other settings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_llmperf.errors import MeasurementError, MissingExtraError, ModelMissingError, ServerError, UsageError
from pytest_llmperf.judge.markers import count_gates
from pytest_llmperf.model import IDENTITY, Cell, Matrix, Scenario, Settings, TopologyKind
from pytest_llmperf.session.session import Session
from pytest_llmperf.study.matrices.matrix_cells import config_name, script_of
from pytest_llmperf.study.rows.round_rows import label
from pytest_llmperf.study.sweeps.sweep_journal import Finished, Journal, key_of
from pytest_llmperf.study.sweeps.sweep_options import SweepOptions
from pytest_llmperf.study.sweeps.sweep_progress import Progress

_MOST_SERVER_FAILURES = 2
"""After this many cells in a row that fail because of their servers, the rest is left."""


class Sweep:
    """A sweep, on one session at a time; a cell with other settings gets a new session.

    Args:
        matrix: its cells are measured.
        session: the session to derive variants from.
        progress: receives the progress.
        options: the options of every cell.

    Attributes:
        skipped: models and runtimes that are not available here, with the reason.
        failed: cells that could not be measured, with the reason.
        untried: number of cells left because the servers had failed.
    """

    def __init__(self, matrix: Matrix, session: Session, progress: Progress, options: SweepOptions) -> None:
        self.skipped: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.untried = 0
        self._progress = progress
        self._matrix = matrix
        self._session = session
        self._options = options
        self._open: Session | None = None
        self._opened_for: Settings | None = None
        self._calibrated: set[str] = set()
        gates = count_gates(options.specs, compare=bool(session.settings.compare))
        self._more_gates = gates * (progress.total - 1)  # the first cell's gates are counted already

    def run(self, scenarios: Sequence[tuple[Cell, Scenario]], journal: Journal) -> None:
        """Measures every cell that is not in the journal, and keeps it there.

        If a cell cannot be measured, the others still are. If the servers fail twice in a row, the rest is left for
        another run.

        Raises:
            UsageError: gates without limits, a scenario that fits no topology, finished cells of another machine.
            ServerError: a model or a runtime that no axis names is missing.
            LlmperfError: the journal cannot be written.
        """
        failures = 0
        left = [pair for pair in self._in_order(scenarios, journal) if key_of(pair[0]) not in journal.finished]
        for tried, (cell, scenario) in enumerate(left, start=1):
            try:
                finished = self._measure(cell, scenario)
            except (MissingExtraError, ModelMissingError) as error:
                if not {"model", "runtime"} & set(cell):
                    raise
                self.skipped[_blamed(cell, error)] = str(error.args[0])
                self._progress.skip()
                continue
            except (MeasurementError, ServerError) as error:
                why = str(error.args[0]) + (f" ({error.next_step})" if error.next_step else "")
                self.failed[label(cell) or "its only cell"] = why
                journal.add_failed(cell, why)
                refused = isinstance(error, MeasurementError) and not error.passing
                failures = 0 if refused else failures + 1
                if failures == _MOST_SERVER_FAILURES:
                    self.untried = len(left) - tried
                    break
                continue
            failures = 0
            _check_same_machine(journal, finished)
            journal.add(cell, finished)

    def _in_order(self, scenarios: Sequence[tuple[Cell, Scenario]], journal: Journal) -> list[tuple[Cell, Scenario]]:
        """Grouped by settings, so that servers start rarely; cells that failed in an earlier run come last."""
        groups: list[tuple[Settings, list[tuple[Cell, Scenario]]]] = []
        for pair in scenarios:
            settings = _settings(self._matrix, pair[0], self._session.settings)
            for known, group in groups:
                if known == settings:
                    group.append(pair)
                    break
            else:
                groups.append((settings, [pair]))
        return sorted(
            (pair for _, group in groups for pair in group), key=lambda pair: key_of(pair[0]) in journal.failed
        )

    def _measure(self, cell: Cell, scenario: Scenario) -> Finished:
        """One cell; raises as `Session.measure` does."""
        began_s = time.monotonic()
        self._progress.begin(config_name(cell))
        session = self._for(_settings(self._matrix, cell, self._session.settings))
        runtime = str(cell.get("runtime", self._options.runtime))
        record = session.measure(
            scenario,
            TopologyKind(str(cell.get("topology", self._matrix.topology))),
            test=self._options.test,
            specs=self._options.specs,
            runtime=runtime,
            calibrate=runtime not in self._calibrated,  # the client overhead is the same in every cell
        )
        self._calibrated.add(runtime)
        took_s = time.monotonic() - began_s
        self._progress.end(took_s)
        return Finished(record, session.vram_mb(), took_s)

    def close(self) -> None:
        """Closes the open session."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _for(self, settings: Settings) -> Session:
        """The open session if it has these settings, else a new one."""
        if self._open is None or self._opened_for != settings:
            self.close()
            self._opened_for = settings
            self._open = self._session.variant(settings, self._progress, more_gates=self._more_gates)
        return self._open


def _settings(matrix: Matrix, cell: Cell, settings: Settings) -> Settings:
    """The session's settings with the changes of a cell."""
    changed: dict[str, Any] = {"script": script_of(matrix, cell, settings.script)}
    if matrix.rounds:
        changed |= {"min_rounds": matrix.rounds, "max_rounds": max(matrix.rounds, settings.max_rounds)}
    if "model" in cell:
        model = str(cell["model"])
        is_file = model.lower().endswith(".gguf")
        changed |= {"gguf": model, "model": ""} if is_file else {"gguf": "", "model": model}
    return replace(settings, **changed)


def _blamed(cell: Cell, error: Exception) -> str:
    """The part of a cell that is not available here."""
    axis = "model" if "model" in cell and isinstance(error, ModelMissingError) else "runtime"
    return f"{axis} {cell[axis]}" if axis in cell else f"model {cell['model']}"


def _check_same_machine(journal: Journal, finished: Finished) -> None:
    """Checks that a cell was measured on the same machine and server as the finished ones.

    Raises:
        UsageError: it was not.
    """
    here = finished.record.measurement.manifest.facts
    for earlier in journal.finished.values():
        there = earlier.record.measurement.manifest.facts
        of_model = ("model", "model_digest", "quantization")
        for key in (key for key in IDENTITY if key not in of_model):
            if there.get(key) != here.get(key):
                raise UsageError(
                    f"the finished cells in {journal.path} have another {key}: {there.get(key)} -> {here.get(key)}",
                    next_step="start over: --llmperf-resume=off",
                )
