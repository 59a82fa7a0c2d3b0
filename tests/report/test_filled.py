"""A record of appendix S as a file."""

from pathlib import Path

import pytest

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Settings
from pytest_llmperf.report.filled import fill
from tests.judge.build import measurement_of, round_of

RECORD = Record(test="t.py::test_x", measurement=measurement_of(*[round_of((60, 60), (100, 99))] * 5))


def test_a_record_is_filled_and_ends_with_what_is_added(tmp_path: Path) -> None:
    """In a folder that is made for it."""
    path = fill("validation", [RECORD], Settings(), tmp_path / "made", also="Approved.")
    assert path == tmp_path / "made" / "validation-record.md"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Benchmark validation record\n")
    assert text.endswith("\n\nApproved.\n")
    assert fill("decision", [RECORD], Settings(), tmp_path).read_text("utf-8").startswith("# Decision record\n")


def test_what_cannot_be_filled(tmp_path: Path) -> None:
    """An unknown kind, nothing measured, a folder that is a file: each an error with a way out."""
    with pytest.raises(UsageError, match="no record 'x'\n  next: use one of decision, validation, change"):
        fill("x", [RECORD], Settings(), tmp_path)
    with pytest.raises(UsageError, match="nothing was measured"):
        fill("change", [], Settings(), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(LlmperfError, match="cannot write"):
        fill("change", [RECORD], Settings(), tmp_path / "file")
