"""A record of appendix S as a file."""

from pathlib import Path

import pytest

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.judge.baselines.lookup import key_of
from pytest_llmperf.judge.baselines.store import save
from pytest_llmperf.judge.metrics.series import all_series
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Settings, StoredSession
from pytest_llmperf.study.records.filled_record import fill
from tests.judge.build import measurement_of, round_of

RECORD = Record(test="t.py::test_x", measurement=measurement_of(*[round_of((60, 60), (100, 99))] * 5))


def test_a_record_is_filled_and_ends_with_what_is_added(tmp_path: Path) -> None:
    """In a folder that is made for it."""
    path = fill("validation", [RECORD], Settings(results="made"), tmp_path, also="Approved.")
    assert path == tmp_path / "made" / "validation-record.md"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Benchmark validation record\n")
    assert text.endswith("\n\nApproved.\n")
    assert fill("decision", [RECORD], Settings(), tmp_path).read_text("utf-8").startswith("# Decision record\n")


def test_the_baseline_of_the_comparison_is_its_match(tmp_path: Path) -> None:
    """As in the record that is filled from the run's JSON: of a run under `--llmperf-compare`, its sessions."""
    session = StoredSession(
        saved_at="2026-01-01T10:00:00+00:00", manifest={"backend": "simulated"}, rounds=all_series(RECORD.measurement)
    )
    save("recs", tmp_path / "kept", [(key_of(RECORD.test, RECORD.measurement), session)])
    compared = Settings(compare="recs", baselines_dir="kept")
    assert "| Baseline match | Y: +0.0 % from " in fill("validation", [RECORD], compared, tmp_path).read_text("utf-8")
    alone = fill("validation", [RECORD], Settings(), tmp_path).read_text("utf-8")
    assert "| Baseline match | [unknown" in alone


def test_what_cannot_be_filled(tmp_path: Path) -> None:
    """An unknown kind, nothing measured, a folder that is a file: each an error with a way out."""
    with pytest.raises(UsageError, match="unknown record 'x'\n  next: use one of decision, validation, change"):
        fill("x", [RECORD], Settings(), tmp_path)
    with pytest.raises(UsageError, match="nothing was measured"):
        fill("change", [], Settings(), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(LlmperfError, match="cannot write"):
        fill("change", [RECORD], Settings(results="file"), tmp_path)
