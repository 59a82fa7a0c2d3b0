"""What must be the same for a cell that an interrupted run has finished to count in another run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pytest_llmperf.judge.markers import Cost, Marker
from pytest_llmperf.model import Matrix, Profile
from pytest_llmperf.session import Session

BEARING = (
    *("backend", "urls", "proxy", "model", "gguf", "threads", "ollama_bin", "gpus", "force_topology", "script"),
    *("faults", "runtime", "calibrate", "min_rounds", "max_rounds", "warmups"),
    *("against", "incumbent", "baseline", "baselines_dir", "compare", "update", "limits"),
)
"""The settings that bear on a cell's figures or verdicts. All others leave it as it is: files to write, logins,
patience, what an undecided gate does (that is decided anew from the verdicts)."""

_FILES = ("gguf", "faults")
"""Settings whose file bears on figures by what it holds."""


def conditions(
    matrix: Matrix,
    session: Session,
    *,
    test: str,
    specs: Sequence[Marker] = (),
    make: Callable[..., Any] | None = None,
    runtime: str = "",
    profile: Profile | None = None,
) -> Mapping[str, Any]:
    """What a journal is of; see the module.

    Args:
        matrix: what is measured; its words and claims do not count.
        session: with its settings.
        test: the name under which cells are recorded.
        specs: gate markers that judge every cell.
        make: the user's function that says what agents do.
        runtime: of the clients, in place of that of the settings.
        profile: of the matrix: what it says may have been changed under its name.
    """
    settings, baseline = session.settings, session.baseline
    files = [Path(getattr(settings, name)) for name in _FILES if getattr(settings, name)]
    priced = any(isinstance(spec, Cost) for spec in specs)  # else costs are reckoned when all is measured
    return {
        "matrix": asdict(replace(matrix, claim=(), description="", show=())),
        "settings": {name: repr(getattr(settings, name)) for name in BEARING},
        "backend": [session.backend.kind, session.backend.model, session.backend.urls],
        "files": [(path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists()],
        "baseline": repr((baseline.workload, baseline.threshold)),
        "gates": [repr(spec) for spec in specs],
        "prices": repr(settings.configuration.prices) if priced else "",
        "test": test,
        "runtime": runtime,
        "profile": repr(profile),
        "make": getattr(make, "__qualname__", repr(make)),
    }
