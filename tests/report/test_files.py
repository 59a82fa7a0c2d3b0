"""The JSON of a session."""

from pathlib import Path

import pytest

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Settings
from pytest_llmperf.report.files import write_json
from tests.judge.build import measurement_of, round_of


def test_a_figure_that_is_no_number(tmp_path: Path) -> None:
    """JSON has no NaN: nothing is written, and that is an error of ours, not a traceback."""
    measurement = measurement_of(round_of((90, 90), (100, 100)))
    record = Record(test="test", measurement=measurement, verdicts=())
    settings = Settings(json="run.json", limits={"efficiency": float("nan")})
    with pytest.raises(LlmperfError, match=r"run\.json was not written: Out of range float"):
        write_json([record], settings, tmp_path, [record])
    assert list(tmp_path.iterdir()) == []
