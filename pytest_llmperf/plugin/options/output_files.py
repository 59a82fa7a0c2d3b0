"""The files that options may request: the reports' files, and a CSV file made by `study`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.report.document import Document
from pytest_llmperf.report.files.output_formats import OUTPUTS as REPORTS
from pytest_llmperf.report.files.output_formats import Output, check_outputs

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.model import Settings

_OF_PYTEST = {"--junit-xml": "xmlpath", "--log-file": "log_file", "--benchmark-json": "benchmark_json"}
"""Options of pytest and its plugins that name a file, and where their values are."""


def csv(document: Document) -> str:
    """Every round as a row of the report's schema R.1: the experiment is the test, the configuration what ran where.

    Args:
        document: the session's document.
    """
    from pytest_llmperf.judge.record import from_plain
    from pytest_llmperf.study.rows.result_rows import Row, as_csv
    from pytest_llmperf.study.rows.round_rows import derived, rows_of

    rows: list[Row] = []
    for record in from_plain(document["records"]):
        measurement = record.measurement
        name = f"{measurement.scenario.name}_{measurement.topology.kind}"
        rows += derived([replace(row, config_name=name) for row in rows_of(record.test, {}, record)])
    return as_csv(rows)


OUTPUTS = (*REPORTS, Output("csv", csv, r"run_id,config_name,"))


def check(config: pytest.Config, settings: Settings) -> None:
    """Checks that every requested file can be written and replaces no file of this run; raises as `check_outputs`."""
    check_outputs(settings, config.rootpath, OUTPUTS, _others(config))


def _others(config: pytest.Config) -> Mapping[str, Path | None]:
    """Files of pytest's own."""
    files: dict[str, Path | None] = {"pytest's ini file": config.inipath}
    for option, field in _OF_PYTEST.items():
        value = getattr(config.option, field, None)
        name = getattr(value, "name", value)  # some are open already
        files[option] = config.invocation_params.dir / str(name) if name else None
    return files


def shown(path: Path, config: pytest.Config) -> Path:
    """The path relative to the folder that pytest was started in, if it is below that."""
    start = config.invocation_params.dir
    return path.relative_to(start) if path.is_relative_to(start) else path
