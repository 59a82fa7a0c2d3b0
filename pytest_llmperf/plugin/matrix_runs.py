"""The experiments of a run: the fixture `run_matrix` at work."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.config import scenarios_of
from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import Scenario, scenario_of
from pytest_llmperf.plugin.options.output_files import shown
from pytest_llmperf.plugin.stash import LINES, MATRIX, PROFILE, RECORDS, RUNTIME, SPECS, WARNINGS
from pytest_llmperf.study.matrices import matrix_files
from pytest_llmperf.study.scaling.curve_files import write_curves
from pytest_llmperf.study.scaling.scaling_curve import curve_lines, curves_of
from pytest_llmperf.study.sweeps import run_matrix, summary_text
from pytest_llmperf.study.sweeps.sweep_options import SweepOptions

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.model import Cell, Matrix
    from pytest_llmperf.session.session import Session
    from pytest_llmperf.study.sweeps.study_results import Results


class MatrixRuns:
    """Runs experiments, each under a name of its own.

    Args:
        session: measures.
        config: pytest's.
        learn: is called with every scenario before it runs.
    """

    def __init__(self, session: Session, config: pytest.Config, learn: Callable[[Scenario], None]) -> None:
        self._session = session
        self._config = config
        self._learn = learn
        self._tests: dict[str, str] = {}  # by name of the experiment

    def run(self, item: pytest.Item, matrix: str | Path | Mapping[str, Any], agents: Any, name: str) -> Results:
        """Run an experiment; keep its records, and its findings for the summary, with the test.

        Raises:
            LlmperfError: see `run_matrix.run`; also if a cell failed, once the others are kept, written and shown.
        """
        settings = self._session.settings
        folder = self._session.root / settings.results
        results = run_matrix.run(
            self._matrix(item, matrix, name),
            self._session,
            SweepOptions(test=item.nodeid, specs=item.stash[SPECS], runtime=item.stash[RUNTIME]),
            folder=folder,
            make=partial(self._scenario, item, agents) if agents is not None else None,
            resume=settings.resume,
        )
        item.stash.setdefault(RECORDS, []).extend(results.records)
        item.stash[MATRIX] = True
        item.stash[LINES].extend(summary_text.summary(results, shown(folder, self._config)))
        if curves := curves_of(results.counted):
            paths = write_curves(curves, folder, results.matrix.name, results.matrix.description or results.matrix.name)
            item.stash[LINES].extend((*curve_lines(curves), _written(paths, self._config)))
        item.stash[WARNINGS].extend(text for text in results.transfers if text not in item.stash[WARNINGS])
        if results.failed:
            raise summary_text.failed_cells_error(
                results.matrix.name, results.failed, done=len(results.records), untried=results.untried
            )
        return results

    def _matrix(self, item: pytest.Item, source: str | Path | Mapping[str, Any], name: str) -> Matrix:
        """The matrix of a file or of tables. Raises UsageError if another test has run an experiment of its name."""
        known = scenarios_of(self._session.settings.configuration)
        if isinstance(source, Mapping):
            usual = re.sub(r"[^\w.-]+", "-", item.name, flags=re.ASCII).strip("-")
            matrix = matrix_files.parse(source, name=name or usual, scenarios=known)
        else:
            matrix = matrix_files.load(item.path.parent / source, name=name, scenarios=known)
        test = self._tests.setdefault(matrix.name, item.nodeid)
        if test != item.nodeid:
            raise UsageError(
                f"experiment {matrix.name}: its results would replace those of {test}",
                next_step='give each a name of its own: run_matrix(..., name="NAME")',
            )
        return replace(matrix, profile=item.stash[PROFILE] or matrix.profile)

    def _scenario(self, item: pytest.Item, agents: Any, cell: Cell) -> Scenario:
        """What the test's own function makes of a cell. Raises UsageError if that is no scenario."""
        made = agents(cell)
        try:
            scenario = made if isinstance(made, Scenario) else scenario_of(made, name=item.name)
            self._learn(scenario)
        except ValueError as error:
            raise UsageError(
                f"run_matrix(..., agents={getattr(agents, '__name__', agents)}): of cell {dict(cell)}: {error}",
                next_step="return a Scenario, or a list of agents, async functions and commands",
            ) from error
        return scenario


def _written(paths: Sequence[Path], config: pytest.Config) -> str:
    """The files of the curves; and how to get a chart, if there is none."""
    chart = "" if len(paths) > 1 else "; for a chart: pip install 'pytest-llmperf[report]'"
    return f"  wrote {', '.join(str(shown(path, config)) for path in paths)}{chart}"
