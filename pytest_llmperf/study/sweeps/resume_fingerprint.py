"""What must be the same for a cell that an interrupted run has finished to count in another run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_llmperf.judge.gate_kinds import Judged
from pytest_llmperf.judge.markers import Marker
from pytest_llmperf.model import Agent, Cell, Matrix, Scenario
from pytest_llmperf.model.model_names import full_name
from pytest_llmperf.session.session import Session
from pytest_llmperf.study.matrices.matrix_cells import script_of

BEARING = (
    *("backend", "urls", "proxy", "model", "gguf", "threads", "ollama_bin", "gpus", "force_topology", "script"),
    *("faults", "runtime", "calibrate", "min_rounds", "max_rounds", "warmups"),
    *("against", "incumbent", "baseline", "baselines_dir", "compare", "update", "limits"),
)
"""The settings that bear on a cell's figures or verdicts. All others leave it as it is: files to write, logins,
patience, what an undecided gate does (that is decided anew from the verdicts)."""

_OPTIONS = {"min_rounds": "rounds", "force_topology": "topology"}
"""Settings whose option has another name."""

_FILES = ("gguf", "faults")
"""Settings whose file bears on figures by what it holds."""


def conditions(
    matrix: Matrix, session: Session, *, test: str, specs: Sequence[Marker] = (), runtime: str = ""
) -> Mapping[str, str]:
    """What all cells of a journal have in common: a digest of each, by what it is, in words.

    Args:
        matrix: what is measured; most of it bears on single cells (see `asked`).
        session: with its settings.
        test: the name under which cells are recorded.
        specs: gate markers that judge every cell.
        runtime: of the clients, in place of that of the settings.
    """
    settings, baseline = session.settings, session.baseline
    files = [Path(getattr(settings, name)) for name in _FILES if getattr(settings, name)]
    priced = any(spec.kind.judged is Judged.COST for spec in specs)  # else costs are reckoned when all is measured
    facts = {
        **{
            f"--llmperf-{_OPTIONS.get(name, name).replace('_', '-')}": repr(getattr(settings, name)) for name in BEARING
        },
        "the matrix's rounds": matrix.rounds,
        "the servers": [session.backend.kind, full_name(session.backend.model), session.backend.urls],
        "the files of the model or the faults": [
            (path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists()
        ],
        "the baseline": repr((baseline.workload, baseline.threshold)),
        "the gates": [repr(spec) for spec in specs],
        "the prices": repr(settings.configuration.prices) if priced else "",
        "the test": test,
        "the runtime": runtime,
    }
    return {name: _digest(value) for name, value in facts.items()}


def asked(matrix: Matrix, cell: Cell, scenario: Scenario, session: Session) -> str:
    """What is asked of one cell, as a digest: agents with their prompts and options, topology, what is played.

    Of an agent that was not written for us only its name and command count.
    """
    agents = [asdict(agent) if isinstance(agent, Agent) else (agent.name, agent.stored) for agent in scenario.agents]
    topology = str(cell.get("topology", matrix.topology))
    played = script_of(matrix, cell, session.settings.script)
    return _digest((sorted(cell.items(), key=str), agents, scenario.fixed, topology, played))


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
