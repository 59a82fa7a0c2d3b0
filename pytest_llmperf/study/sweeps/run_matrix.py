"""Runs a matrix: measures its cells, keeps each in the journal, and writes rows and findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_llmperf.config import profile_of, scenarios_of
from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.judge.baselines import baseline_files
from pytest_llmperf.judge.diagnosis.client_saturation import explain_discard
from pytest_llmperf.model import OLLAMA_ONLY, Baseline, Cell, Matrix, Profile, Scenario
from pytest_llmperf.session.session import Session
from pytest_llmperf.study.claims.claim_faults import faults_of
from pytest_llmperf.study.claims.claim_findings import compare
from pytest_llmperf.study.matrices.matrix_cells import (
    AGENTS,
    cells_of,
    config_name,
    foreign_axes,
    scenario_of_cell,
    unplayed,
)
from pytest_llmperf.study.rows.round_rows import derived, rows_of
from pytest_llmperf.study.sweeps.cell_sweep import Sweep
from pytest_llmperf.study.sweeps.resume_fingerprint import asked, conditions
from pytest_llmperf.study.sweeps.study_results import Results, write
from pytest_llmperf.study.sweeps.summary_text import failed_cells_error
from pytest_llmperf.study.sweeps.sweep_journal import Finished, Journal, key_of
from pytest_llmperf.study.sweeps.sweep_options import SweepOptions
from pytest_llmperf.study.sweeps.sweep_progress import Progress

Make = Callable[[Cell], Scenario]
"""A user's function: what the agents of a cell do."""

NO_GPU = "no GPU on this machine"
EMBEDDED_AGENTS = 4
"""The most agents of an axis on the embedded engine, which shares a machine with its clients, unless an option says."""

NEVER_SENT = "an OpenAI-compatible API has no such option"


def run(
    matrix: Matrix,
    session: Session,
    options: SweepOptions,
    *,
    folder: Path,
    make: Make | None = None,
    resume: bool = True,
) -> Results:
    """Measures every cell that can be measured here, and checks the matrix's claims.

    Args:
        matrix: what to measure.
        session: its settings apply unless a cell changes them; it is closed.
        options: the options of every cell.
        folder: where the journal and the results go.
        make: what the agents of a cell do, in place of what the matrix says.
        resume: whether the finished cells of an interrupted run count.

    Raises:
        UsageError: the matrix is invalid; nothing was started.
        MeasurementError: no cell could be measured. (If some could, `Results.failed` names the others.)
        LlmperfError: results could not be written; finished cells stay in the journal.
    """
    card = baseline_files.load_named("decision_card", ())
    profile = profile_of(session.settings.configuration, matrix.profile) if matrix.profile else None
    _check(matrix, card, make)
    simulated = session.backend.kind == "simulated"
    cells, skipped = _measurable(matrix, session)
    known = scenarios_of(session.settings.configuration)
    scenarios = {
        key_of(cell): scenario_of_cell(
            matrix, cell, make(cell) if make else None, profile=profile, simulated=simulated, scenarios=known
        )
        for cell in cells
    }
    session.close()
    alike = conditions(matrix, session, options)
    wanted = {key_of(cell): asked(matrix, cell, scenarios[key_of(cell)], session) for cell in cells}
    with Journal(folder, matrix.name, alike, wanted, resume=resume) as journal:
        resumed = len(journal.finished)
        sweep = _swept(matrix, session, options, [(cell, scenarios[key_of(cell)]) for cell in cells], journal)
        measured = [(cell, finished) for cell in cells if (finished := journal.finished.get(key_of(cell))) is not None]
        skipped |= sweep.skipped
        if not measured:
            raise _nothing_measured(matrix, sweep, skipped)
        results = replace(
            _results(matrix, session, card, measured, skipped=skipped, sweep=sweep),
            notes=journal.notes,
            resumed=resumed,
            profile="" if profile is None else profile.in_words(matrix.profile),
            transfers=_transfers(matrix, profile, scenarios.values()),
        )
        write(results, folder)
        if not sweep.failed:
            journal.remove()
    return results


def _check(matrix: Matrix, card: Baseline, make: Make | None) -> None:
    """Nothing; raises UsageError for wrong claims, and for axes that only a function could give a meaning."""
    if faults := faults_of(matrix, card):
        raise UsageError("\n  ".join((f"matrix {matrix.name} is wrong:", *faults)), next_step="docs/experiments.md")
    if (foreign := foreign_axes(matrix)) and make is None:
        raise UsageError(
            f"matrix {matrix.name}: axis {', '.join(foreign)} is neither an option nor model, topology, scenario or "
            "runtime",
            next_step="give it a meaning: run_matrix(..., agents=FUNCTION), which receives the cell",
        )


def _swept(
    matrix: Matrix,
    session: Session,
    options: SweepOptions,
    scenarios: Sequence[tuple[Cell, Scenario]],
    journal: Journal,
) -> Sweep:
    """The sweep after it has measured every cell that is not in the journal."""
    for note in journal.notes:
        session.listener.note(f"experiment {matrix.name}: {note}")
    took_s = [finished.took_s for finished in journal.finished.values()]
    progress = Progress(session.listener, matrix.name, len(scenarios), took_s)
    sweep = Sweep(matrix, session, progress, options)
    try:
        sweep.run(scenarios, journal)
    finally:
        sweep.close()
    return sweep


def _nothing_measured(matrix: Matrix, sweep: Sweep, skipped: Mapping[str, str]) -> LlmperfError:
    """The error if no cell was measured: all failed, or none can be measured here."""
    if sweep.failed:
        return failed_cells_error(matrix.name, sweep.failed, done=0, untried=sweep.untried)
    reasons = "; ".join(f"{subject}: {reason}" for subject, reason in skipped.items())
    return UsageError(
        f"no cell of matrix {matrix.name} can be measured here: {reasons}",
        next_step="add a value to the matrix that is available on this machine",
    )


def _results(
    matrix: Matrix,
    session: Session,
    card: Baseline,
    measured: Sequence[tuple[Cell, Finished]],
    *,
    skipped: Mapping[str, str],
    sweep: Sweep,
) -> Results:
    """Rows and findings of the measured cells."""
    simulated = session.backend.kind == "simulated"
    uncounted = {
        f"not counted: {config_name(cell)}": explain_discard(finished.record.measurement)
        for cell, finished in measured
        if not finished.record.measurement.rounds
    }
    skipped = {**skipped, **uncounted}
    prices = session.settings.configuration.prices
    rows = derived(
        [
            row
            for cell, finished in measured
            for row in rows_of(matrix.name, cell, finished.record, vram_mb=finished.vram_mb)
        ],
        usd_per_hour=None if prices is None else prices.usd_per_hour,
    )
    return Results(
        matrix=matrix,
        rows=rows,
        records=tuple(finished.record for _, finished in measured),
        skipped=skipped,
        findings=compare(
            matrix,
            rows,
            card,
            real_gpu=session.has_gpu() and not simulated,
            same_machine=simulated or _is_cards(measured[0][1], card.manifest),
            skipped=[f"{subject}: {reason}" for subject, reason in (skipped | sweep.failed).items()],
        ),
        failed=sweep.failed,
        untried=sweep.untried,
    )


def _measurable(matrix: Matrix, session: Session) -> tuple[list[Cell], dict[str, str]]:
    """The cells that can be measured here; and what cannot, with the reason."""
    simulated, forced = session.backend.kind == "simulated", session.settings.force_topology
    without = {} if simulated or session.has_gpu() else {"num_gpu": NO_GPU}
    if session.backend.kind == "openai":
        without |= dict.fromkeys(OLLAMA_ONLY, NEVER_SENT)
    skipped = {f"axis {axis}": reason for axis, reason in without.items() if _names(matrix, axis)}
    cells = []
    most, why = _most_agents(session)
    for cell in cells_of(matrix, without=tuple(without)):
        if simulated and (model := unplayed(matrix, cell)):
            skipped[f"model {model}"] = "the matrix has no script for it"
        elif forced and cell.get("topology", forced) != forced:
            skipped[f"topology {cell['topology']}"] = f"--llmperf-topology or the deployment sets {forced}"
        elif matrix.prompts and most and int(cell.get(AGENTS, 1)) > most:
            skipped[f"agents {cell[AGENTS]}"] = why
        else:
            cells.append(cell)
    return cells, skipped


def _most_agents(session: Session) -> tuple[int, str]:
    """The largest number of agents that is measured, and the reason; 0: any."""
    most = session.settings.max_agents
    if most or session.backend.kind != "embedded":
        return most, f"--llmperf-max-agents is {most}"
    return (
        EMBEDDED_AGENTS,
        f"the embedded engine is measured with up to {EMBEDDED_AGENTS}; --llmperf-max-agents sets more",
    )


def _transfers(matrix: Matrix, profile: Profile | None, scenarios: Iterable[Scenario]) -> tuple[str, ...]:
    """Warnings that the matrix's profile is for another mode than a cell's; one per mode."""
    if profile is None:
        return ()
    warnings = (
        profile.transferred(matrix.profile, replace(scenario, name=f"matrix {matrix.name}")) for scenario in scenarios
    )
    return tuple(dict.fromkeys(filter(None, warnings)))


def _names(matrix: Matrix, axis: str) -> bool:
    return axis in matrix.axes or any(axis in cell for cell in matrix.cell)


def _is_cards(finished: Finished, card: Mapping[str, str]) -> bool:
    """Whether the measured machine is the report's, according to the card's manifest."""
    facts = finished.record.measurement.manifest.facts
    return all(card[key] in facts.get(key, "") for key in ("gpu", "cpu") if key in card)
