"""What a session's end writes to the terminal, without servers."""

import io

import pytest
from _pytest.terminal import TerminalReporter

from pytest_llmperf.plugin.results.session_results import _end_line


@pytest.mark.parametrize("begun", ["", ". [100%]", "test_it.py ."])
def test_a_report_begins_on_a_line_of_its_own(begun: str, pytestconfig: pytest.Config) -> None:
    """Behind progress at any verbosity, and after what the terminal's writer still held back."""
    raw = io.BytesIO()
    reporter = TerminalReporter(pytestconfig, io.TextIOWrapper(raw, encoding="utf-8"))
    reporter.write(begun)
    _end_line(reporter)
    assert raw.getvalue().decode() == (f"{begun}\n" if begun else "")
    _end_line(None)
