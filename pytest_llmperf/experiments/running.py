"""Runs a matrix: cell by cell, each kept in the journal, on servers that change where a cell asks for others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_llmperf.config import profile_of
from pytest_llmperf.errors import MissingExtraError, ModelMissingError, UsageError
from pytest_llmperf.experiments.conditions import conditions
from pytest_llmperf.experiments.findings import compare, faults_of
from pytest_llmperf.experiments.journal import Finished, Journal, key_of
from pytest_llmperf.experiments.matrices import (
    cells_of,
    config_name,
    foreign_axes,
    scenario_of_cell,
    script_of,
    unplayed,
)
from pytest_llmperf.experiments.progress import Progress
from pytest_llmperf.experiments.results import Results, write
from pytest_llmperf.experiments.rows import derived, rows_of
from pytest_llmperf.judge import baselines
from pytest_llmperf.judge.markers import Marker, count_gates
from pytest_llmperf.judge.validity import why
from pytest_llmperf.model import IDENTITY, Cell, Matrix, Profile, Scenario, Settings, TopologyKind
from pytest_llmperf.session import Session

Make = Callable[[Cell], Scenario]
"""A function of the user's: what the agents of a cell do."""

NO_GPU = "no GPU here"


def run(
    matrix: Matrix,
    session: Session,
    *,
    test: str,
    folder: Path,
    specs: Sequence[Marker] = (),
    make: Make | None = None,
    resume: bool = True,
    runtime: str = "",
) -> Results:
    """Measures every cell that can be measured here, and compares with what the report claims.

    Args:
        matrix: what to measure.
        session: whose settings hold where a cell does not say otherwise; it is closed.
        test: the name under which it is recorded.
        folder: where the journal and the results go.
        specs: gate markers, which judge every cell.
        make: what the agents of a cell do, in place of what the matrix says.
        resume: whether cells that an interrupted run has finished count.
        runtime: of the clients, where no axis says it; empty: as the settings say.

    Raises:
        UsageError: the matrix makes no sense; nothing was started.
        LlmperfError: a cell could not be measured, or results not written; what is finished stays in the journal.
    """
    card = baselines.load_named("decision_card", ())
    profile = profile_of(session.settings.configuration, matrix.profile) if matrix.profile else None
    if faults := faults_of(matrix, card):
        raise UsageError("\n  ".join((f"matrix {matrix.name} is wrong:", *faults)), next_step="docs/experiments.md")
    if (foreign := foreign_axes(matrix)) and make is None:
        raise UsageError(
            f"matrix {matrix.name}: axis {', '.join(foreign)} is neither an option nor model, topology, scenario or "
            "runtime",
            next_step="say what it means: run_matrix(..., agents=FUNCTION), which gets the cell",
        )
    simulated = session.backend.kind == "simulated"
    without = () if simulated or session.has_gpu() else ("num_gpu",)
    skipped = {f"axis {axis}": NO_GPU for axis in without if _names(matrix, axis)}
    cells = cells_of(matrix, without=without)
    for cell in cells if simulated else ():
        if model := unplayed(matrix, cell):
            skipped[f"model {model}"] = "the matrix does not say how it is played"
    cells = tuple(cell for cell in cells if not (simulated and unplayed(matrix, cell)))
    scenarios = {
        key_of(cell): scenario_of_cell(matrix, cell, make(cell) if make else None, profile=profile, simulated=simulated)
        for cell in cells
    }
    session.close()
    alike = conditions(matrix, session, test=test, specs=specs, make=make, runtime=runtime, profile=profile)
    with Journal(folder, matrix.name, alike, resume=resume) as journal:
        resumed = sum(key_of(cell) in journal.finished for cell in cells)
        took_s = [one.took_s for one in journal.finished.values()]
        sweep = _Sweep(matrix, session, Progress(session.watcher, matrix.name, len(cells), took_s), test, specs)
        try:
            for cell in _in_groups(cells, lambda cell: _settings(matrix, cell, session.settings)):
                if key_of(cell) in journal.finished:
                    continue
                try:
                    finished = sweep.measure(cell, scenarios[key_of(cell)], runtime)
                except (MissingExtraError, ModelMissingError) as error:
                    if not {"model", "runtime"} & set(cell):
                        raise
                    skipped[_blamed(cell, error)] = str(error.args[0])
                    sweep.progress.skip()
                    continue
                _check_same_machine(journal, finished)
                journal.add(cell, finished)
        finally:
            sweep.close()
        done = {key: journal.finished[key] for cell in cells if (key := key_of(cell)) in journal.finished}
        if not done:
            raise UsageError(
                f"no cell of matrix {matrix.name} can be measured here: "
                f"{'; '.join(f'{what}: {why}' for what, why in skipped.items())}",
                next_step="add a value that this machine has to the matrix",
            )
        for cell in cells:
            if (one := done.get(key_of(cell))) is not None and not one.record.measurement.rounds:
                skipped[f"not counted: {config_name(cell)}"] = why(one.record.measurement)
        prices = session.settings.configuration.prices
        rows = derived(
            [
                row
                for cell in cells
                if (one := done.get(key_of(cell))) is not None
                for row in rows_of(matrix.name, cell, one.record, vram_mb=one.vram_mb)
            ],
            usd_per_hour=None if prices is None else prices.usd_per_hour,
        )
        results = Results(
            matrix=matrix,
            rows=rows,
            records=tuple(one.record for one in done.values()),
            skipped=skipped,
            findings=compare(
                matrix,
                rows,
                card,
                real_gpu=session.has_gpu() and not simulated,
                same_machine=simulated or _is_cards(next(iter(done.values())), card.manifest),
                skipped=[f"{what}: {why}" for what, why in skipped.items()],
            ),
            resumed=resumed,
            profile="" if profile is None else profile.in_words(matrix.profile),
            transfers=_transfers(matrix, profile, scenarios.values()),
        )
        write(results, folder)
        journal.remove()
    return results


def _transfers(matrix: Matrix, profile: Profile | None, scenarios: Iterable[Scenario]) -> tuple[str, ...]:
    """Where the matrix's profile is for another mode than a cell's: once a mode, however many cells there are."""
    if profile is None:
        return ()
    told = (profile.transferred(matrix.profile, replace(one, name=f"matrix {matrix.name}")) for one in scenarios)
    return tuple(dict.fromkeys(filter(None, told)))


def _in_groups(cells: Sequence[Cell], settings_of: Callable[[Cell], Settings]) -> list[Cell]:
    """Cells of the same settings one after the other, so that servers start as seldom as they may."""
    groups: list[tuple[Settings, list[Cell]]] = []
    for cell in cells:
        settings = settings_of(cell)
        for known, group in groups:
            if known == settings:
                group.append(cell)
                break
        else:
            groups.append((settings, [cell]))
    return [cell for _, group in groups for cell in group]


class _Sweep:
    """The servers of a sweep: one session at a time, another one where a cell's settings differ.

    Args:
        matrix: whose cells.
        session: to take variants of.
        progress: is told.
        test: name of the records.
        specs: gate markers.
    """

    def __init__(
        self, matrix: Matrix, session: Session, progress: Progress, test: str, specs: Sequence[Marker]
    ) -> None:
        self.progress = progress
        self._matrix = matrix
        self._session = session
        self._test = test
        self._specs = specs
        self._open: Session | None = None
        self._opened_for: Settings | None = None
        self._calibrated: set[str] = set()
        gates = count_gates(specs, compare=bool(session.settings.compare))
        self._more_gates = gates * (progress.total - 1)  # those of one cell are counted already

    def measure(self, cell: Cell, scenario: Scenario, runtime: str) -> Finished:
        """One cell; raises as `Session.measure` does."""
        began_s = time.monotonic()
        self.progress.begin(config_name(cell))
        session = self._for(_settings(self._matrix, cell, self._session.settings))
        runtime = str(cell.get("runtime", runtime))
        if runtime in self._calibrated:  # the client's cost is the same in every cell
            session.settings = replace(session.settings, calibrate=False)
        record = session.measure(
            scenario,
            TopologyKind(str(cell.get("topology", self._matrix.topology))),
            test=self._test,
            specs=self._specs,
            runtime=runtime,
        )
        self._calibrated.add(runtime)
        took_s = time.monotonic() - began_s
        self.progress.end(took_s)
        return Finished(record, session.vram_mb(), took_s)

    def close(self) -> None:
        """Leaves the servers as they were found."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _for(self, settings: Settings) -> Session:
        """The open session, where it has these settings."""
        if self._open is None or self._opened_for != settings:
            self.close()
            self._opened_for = settings
            self._open = self._session.variant(settings, self.progress)
            self._open.gates += self._more_gates
        return self._open


def _settings(matrix: Matrix, cell: Cell, settings: Settings) -> Settings:
    """The session's settings as a cell changes them."""
    changed: dict[str, Any] = {"script": script_of(matrix, cell, settings.script)}
    if matrix.rounds:
        changed |= {"min_rounds": matrix.rounds, "max_rounds": max(matrix.rounds, settings.max_rounds)}
    if "model" in cell:
        model = str(cell["model"])
        is_file = model.lower().endswith(".gguf")
        changed |= {"gguf": model, "model": ""} if is_file else {"gguf": "", "model": model}
    return replace(settings, **changed)


def _names(matrix: Matrix, axis: str) -> bool:
    return axis in matrix.axes or any(axis in cell for cell in matrix.cell)


def _blamed(cell: Cell, error: Exception) -> str:
    """What of a cell cannot be had here."""
    axis = "model" if "model" in cell and isinstance(error, ModelMissingError) else "runtime"
    return f"{axis} {cell[axis]}" if axis in cell else f"model {cell['model']}"


def _check_same_machine(journal: Journal, finished: Finished) -> None:
    """Cells of one experiment are of one machine and one server.

    Raises:
        UsageError: an earlier run's cells are of another.
    """
    here = finished.record.measurement.manifest.facts
    for one in journal.finished.values():
        there = one.record.measurement.manifest.facts
        of_model = ("model", "model_digest", "quantization")
        for key in (key for key in IDENTITY if key not in of_model):
            if there.get(key) != here.get(key):
                raise UsageError(
                    f"the finished cells in {journal.path} are of another {key}: {there.get(key)} -> {here.get(key)}",
                    next_step="start anew: --llmperf-resume=off",
                )


def _is_cards(finished: Finished, card: Mapping[str, str]) -> bool:
    """Whether the measured machine is the report's, by what the card says of it."""
    facts = finished.record.measurement.manifest.facts
    return all(card[key] in facts.get(key, "") for key in ("gpu", "cpu") if key in card)
