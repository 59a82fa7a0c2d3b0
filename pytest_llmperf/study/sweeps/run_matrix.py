"""Runs a matrix: cell by cell, each kept in the journal, on servers that change where a cell asks for others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_llmperf.config import profile_of
from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.baselines import baseline_files
from pytest_llmperf.judge.diagnosis.client_saturation import why
from pytest_llmperf.judge.markers import Marker
from pytest_llmperf.model import OLLAMA_ONLY, Cell, Matrix, Profile, Scenario
from pytest_llmperf.session.session import Session
from pytest_llmperf.study.claims.claim_faults import faults_of
from pytest_llmperf.study.claims.claim_findings import compare
from pytest_llmperf.study.matrices.matrix_cells import cells_of, config_name, foreign_axes, scenario_of_cell, unplayed
from pytest_llmperf.study.rows.round_rows import derived, rows_of
from pytest_llmperf.study.sweeps.cell_sweep import Sweep
from pytest_llmperf.study.sweeps.resume_fingerprint import asked, conditions
from pytest_llmperf.study.sweeps.study_results import Results, write
from pytest_llmperf.study.sweeps.summary_text import in_vain
from pytest_llmperf.study.sweeps.sweep_journal import Finished, Journal, key_of
from pytest_llmperf.study.sweeps.sweep_progress import Progress

Make = Callable[[Cell], Scenario]
"""A function of the user's: what the agents of a cell do."""

NO_GPU = "no GPU here"
NEVER_SENT = "an OpenAI-compatible API has no such option"


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
        MeasurementError: no cell could be measured. (Where some could, `Results.failed` names the others.)
        LlmperfError: results could not be written; what is finished stays in the journal.
    """
    card = baseline_files.load_named("decision_card", ())
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
    cells, skipped = _measurable(matrix, session)
    scenarios = {
        key_of(cell): scenario_of_cell(matrix, cell, make(cell) if make else None, profile=profile, simulated=simulated)
        for cell in cells
    }
    session.close()
    alike = conditions(matrix, session, test=test, specs=specs, runtime=runtime)
    wanted = {key_of(cell): asked(matrix, cell, scenarios[key_of(cell)], session) for cell in cells}
    with Journal(folder, matrix.name, alike, wanted, resume=resume) as journal:
        resumed = len(journal.finished)
        for note in journal.notes:
            session.listener.note(f"experiment {matrix.name}: {note}")
        took_s = [cell_result.took_s for cell_result in journal.finished.values()]
        progress = Progress(session.listener, matrix.name, len(cells), took_s)
        sweep = Sweep(matrix, session, progress, test=test, specs=specs, runtime=runtime)
        try:
            sweep.run([(cell, scenarios[key_of(cell)]) for cell in cells], journal)
        finally:
            sweep.close()
        skipped |= sweep.skipped
        done = {key: journal.finished[key] for cell in cells if (key := key_of(cell)) in journal.finished}
        if not done and sweep.failed:
            raise in_vain(matrix.name, sweep.failed, done=0, untried=sweep.untried)
        if not done:
            raise UsageError(
                f"no cell of matrix {matrix.name} can be measured here: "
                f"{'; '.join(f'{cell}: {why}' for cell, why in skipped.items())}",
                next_step="add a value that this machine has to the matrix",
            )
        for cell in cells:
            if (cell_result := done.get(key_of(cell))) is not None and not cell_result.record.measurement.rounds:
                skipped[f"not counted: {config_name(cell)}"] = why(cell_result.record.measurement)
        prices = session.settings.configuration.prices
        rows = derived(
            [
                row
                for cell in cells
                if (cell_result := done.get(key_of(cell))) is not None
                for row in rows_of(matrix.name, cell, cell_result.record, vram_mb=cell_result.vram_mb)
            ],
            usd_per_hour=None if prices is None else prices.usd_per_hour,
        )
        results = Results(
            matrix=matrix,
            rows=rows,
            records=tuple(cell_result.record for cell_result in done.values()),
            skipped=skipped,
            findings=compare(
                matrix,
                rows,
                card,
                real_gpu=session.has_gpu() and not simulated,
                same_machine=simulated or _is_cards(next(iter(done.values())), card.manifest),
                skipped=[f"{subject}: {why}" for subject, why in (skipped | sweep.failed).items()],
            ),
            failed=sweep.failed,
            untried=sweep.untried,
            notes=journal.notes,
            resumed=resumed,
            profile="" if profile is None else profile.in_words(matrix.profile),
            transfers=_transfers(matrix, profile, scenarios.values()),
        )
        write(results, folder)
        if not sweep.failed:
            journal.remove()
    return results


def _measurable(matrix: Matrix, session: Session) -> tuple[list[Cell], dict[str, str]]:
    """The cells that mean something here; and what of the matrix does not, and why."""
    simulated, forced = session.backend.kind == "simulated", session.settings.force_topology
    without = {} if simulated or session.has_gpu() else {"num_gpu": NO_GPU}
    if session.backend.kind == "openai":
        without |= dict.fromkeys(OLLAMA_ONLY, NEVER_SENT)
    skipped = {f"axis {axis}": reason for axis, reason in without.items() if _names(matrix, axis)}
    cells = []
    for cell in cells_of(matrix, without=tuple(without)):
        if simulated and (model := unplayed(matrix, cell)):
            skipped[f"model {model}"] = "the matrix does not say how it is played"
        elif forced and cell.get("topology", forced) != forced:
            skipped[f"topology {cell['topology']}"] = f"--llmperf-topology or the deployment wants {forced}"
        else:
            cells.append(cell)
    return cells, skipped


def _transfers(matrix: Matrix, profile: Profile | None, scenarios: Iterable[Scenario]) -> tuple[str, ...]:
    """Where the matrix's profile is for another mode than a cell's: once a mode, however many cells there are."""
    if profile is None:
        return ()
    told = (
        profile.transferred(matrix.profile, replace(scenario, name=f"matrix {matrix.name}")) for scenario in scenarios
    )
    return tuple(dict.fromkeys(filter(None, told)))


def _names(matrix: Matrix, axis: str) -> bool:
    return axis in matrix.axes or any(axis in cell for cell in matrix.cell)


def _is_cards(finished: Finished, card: Mapping[str, str]) -> bool:
    """Whether the measured machine is the report's, by what the card says of it."""
    facts = finished.record.measurement.manifest.facts
    return all(card[key] in facts.get(key, "") for key in ("gpu", "cpu") if key in card)
