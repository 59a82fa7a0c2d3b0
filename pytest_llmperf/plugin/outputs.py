"""The files that a session may be asked for: those of the reports, and the CSV of the experiments' room."""

from __future__ import annotations

from dataclasses import replace

from pytest_llmperf.report.document import Document
from pytest_llmperf.report.files import OUTPUTS as REPORTS
from pytest_llmperf.report.files import Output


def csv(found: Document) -> str:
    """Every round as a row of the report's schema R.1, its test as experiment, what ran where as configuration.

    Args:
        found: the session's document.
    """
    from pytest_llmperf.experiments.rows import Row, as_csv, derived, rows_of  # noqa: PLC0415 - only where asked for
    from pytest_llmperf.judge.record import from_plain  # noqa: PLC0415 - as above

    rows: list[Row] = []
    for record in from_plain(found["records"]):
        measurement = record.measurement
        name = f"{measurement.scenario.name}_{measurement.topology.kind}"
        rows += derived([replace(row, config_name=name) for row in rows_of(record.test, {}, record)])
    return as_csv(rows)


OUTPUTS = (*REPORTS, Output("csv", csv))
