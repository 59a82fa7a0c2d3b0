"""`pytest-llmperf trend`: what changed over a baseline's sessions, and the exit code; the report shows the same."""

import json
from html import escape
from pathlib import Path

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.judge.baselines import baseline_files, lookup, store
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.baselines.trend import trends
from pytest_llmperf.model import Settings
from pytest_llmperf.report import html
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.report.files.session_outputs import write_all
from tests.judge.baselines.test_trend import baseline_of
from tests.report.conftest import run_of
from tests.report.published_schema import PUBLISHED_SCHEMA


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`stored(levels)`: a baseline `main` with a session at each level, of the test that `run_of` runs."""
    monkeypatch.chdir(tmp_path)
    record = run_of().records[0]
    key = lookup.key_of(record.test, record.measurement)

    def save(levels, **options) -> Key:
        (entry,) = baseline_of(levels, **options).stored
        for session in entry.session:
            store.save("main", tmp_path / "baselines", [(key, session)])
        return key

    return save


def test_a_creep_is_told_and_fails(stored, capsys: pytest.CaptureFixture[str]) -> None:
    """By how much, over how many sessions, between which commits; exit code 1."""
    key = stored([98 - 0.3 * number for number in range(20)])
    assert main(["trend", "main"]) == 1
    out = capsys.readouterr().out
    assert f"{key.test}\n  scenario pair, topology dual, work " in out
    assert "efficiency_pct: worse by 5." in out
    assert "gradually" in out
    assert "over 20 sessions between 2026-01-01 00:00 (c00000000) and 2026-01-20 00:00 (c00000019)" in out
    assert "not recovered (changes of 2 pp or more count)" in out
    assert out.endswith("baseline main: 1 change detected, 1 of 1 metric not recovered from a loss\n")


def test_a_step_that_was_made_good(stored, capsys: pytest.CaptureFixture[str]) -> None:
    """Both changes are reported; the exit code is 0."""
    stored([98] * 6 + [94] * 6 + [98] * 6)
    assert main(["trend", "main"]) == 0
    out = capsys.readouterr().out
    assert "efficiency_pct: worse by 3.9 pp in one step, 97.9" in out
    assert "efficiency_pct: better by" in out
    assert "2 changes detected, 0 of 1 metric not recovered" in out


def test_too_few_sessions(stored, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and the command to type; also if the requested metric is not stored."""
    stored([98] * 4)
    assert main(["trend", "main"]) == 2
    assert "efficiency_pct: 4 sessions, a change can be detected from 5 on" in capsys.readouterr().out
    assert main(["trend", "main", "--metric", "ttft_ms"]) == 2
    assert "too few sessions to detect a change: pytest --llmperf-save main" in capsys.readouterr().out


def test_what_matters_can_be_said(stored, capsys: pytest.CaptureFixture[str]) -> None:
    """A loss of one point is reported, and fails only if it matters; sessions of other machines are left out."""
    stored([98] * 8 + [97] * 8, sd=0.2)
    assert main(["trend", "main"]) == 0
    assert "below its best level (changes of 2 pp or more count)" in capsys.readouterr().out
    assert main(["trend", "main", "--delta", "0.5"]) == 1
    capsys.readouterr()
    stored([100] * 6, metric="system_tok_s", facts=lambda number: {"cpu": "i5" if number == 0 else "i9"})
    assert main(["trend", "main", "--metric", "system_tok_s"]) == 0
    assert "no change over 5 sessions (17 sessions of another machine excluded)" in capsys.readouterr().out


def test_the_report_shows_the_same(stored, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run that is compared with that baseline: the same lines, a chart with every session and this run beside."""
    key = stored([98] * 6 + [95] * 6)
    run = run_of()
    settings = Settings(compare="main", json="run.json", html="run.html")
    assert not any(
        failed for _, failed in write_all(Run(records=run.records, settings=settings), tmp_path, {}).messages
    )
    content = json.loads((tmp_path / "run.json").read_text())
    PUBLISHED_SCHEMA.validate(content)
    history = content["records"][0]["history"]
    assert main(["trend", "main"]) == 1
    out = capsys.readouterr().out
    assert all(f"  {line}\n" in out for line in history["said"])
    (trend,) = trends(baseline_files.load(tmp_path / "baselines" / "main.toml"))
    assert trend.key == key
    assert [point["value"] for point in history["trends"][0]["points"]] == [point.value for point in trend.points]
    page = (tmp_path / "run.html").read_text()
    for point in trend.points:
        assert f"session of {point.saved_at} ({point.commit}): {point.value:.4f} %" in page
    assert f"this run: {content['records'][0]['figures']['efficiency_pct']:.4f} %" in page
    assert all(f"<li>{escape(line)}</li>" in page for line in history["said"])


def test_a_run_without_history() -> None:
    """Nothing stored, or of another test: no history, and a page all the same."""
    run = run_of()
    unrelated = baseline_of([98] * 8)
    for stored in (None, unrelated):
        content = json.loads(as_text(document(Run(records=run.records, settings=Settings(), stored=stored))))
        assert "history" not in content["records"][0]
        assert "History" not in html.page(content)
