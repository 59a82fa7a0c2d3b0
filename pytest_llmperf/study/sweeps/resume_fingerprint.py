"""The conditions that must be equal for a finished cell of an earlier run to count."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_llmperf.model import Agent, AnyAgent, Cell, Matrix, Scenario, team_of
from pytest_llmperf.model.model_names import full_name
from pytest_llmperf.session.session import Session
from pytest_llmperf.study.matrices.matrix_cells import script_of
from pytest_llmperf.study.sweeps.sweep_options import SweepOptions

BEARING = (
    *("backend", "urls", "proxy", "model", "gguf", "threads", "ollama_bin", "gpus", "force_topology", "script"),
    *("faults", "runtime", "ray_address", "calibrate", "min_rounds", "max_rounds", "warmups"),
    *("against", "incumbent", "baseline", "baselines_dir", "compare", "update", "limits"),
    "robust",
)
"""The settings that influence a cell's figures or verdicts. The others do not: output files, logins, time limits, and
the action of an inconclusive gate, which is derived from the verdicts again."""

_OPTIONS = {"min_rounds": "rounds", "force_topology": "topology"}
"""Settings whose option has a different name."""

_FILES = ("gguf", "faults")
"""Settings that name a file whose content influences figures."""


def conditions(matrix: Matrix, session: Session, options: SweepOptions) -> Mapping[str, str]:
    """What all cells of a journal have in common: a digest per condition, by its name.

    Args:
        matrix: what is measured; most of it concerns single cells (see `asked`).
        session: the session with its settings.
        options: the options of every cell.
    """
    settings, baseline = session.settings, session.baseline
    files = [Path(getattr(settings, name)) for name in _FILES if getattr(settings, name)]
    priced = any(spec.kind.judged == "cost" for spec in options.specs)  # otherwise costs are computed at the end
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
        "the gates": [repr(spec) for spec in options.specs],
        "the prices": repr(settings.configuration.prices) if priced else "",
        "the test": options.test,
        "the runtime": options.runtime,
    }
    return {name: _digest(value) for name, value in facts.items()}


def asked(matrix: Matrix, cell: Cell, scenario: Scenario, session: Session) -> str:
    """A digest of what a cell measures: agents with prompts and options, topology, script of the simulated server.

    An external agent counts by its name and command.
    """
    agents = [asdict(agent) if isinstance(agent, Agent) else _work(agent) for agent in scenario.agents]
    topology = str(cell.get("topology", matrix.topology))
    played = script_of(matrix, cell, session.settings.script)
    return _digest((sorted(cell.items(), key=str), agents, scenario.fixed, topology, played))


def _work(agent: AnyAgent) -> tuple[object, ...]:
    """The name and the command of an external agent, and its team if it is part of one."""
    assert not isinstance(agent, Agent)
    return (agent.name, agent.stored, *filter(None, [team_of(agent)]))


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
