"""The chart of operating characteristics: which cells it shows, and that it is an image."""

from pathlib import Path
from xml.etree import ElementTree

from benchmarks import verdict_chart, verdicts

ROOT = Path(__file__).parent.parent
RESULT = verdicts.Result(passed=60.0, failed=30.0, open=10.0, rounds=7.0)


def test_the_chart_shows_each_panel() -> None:
    """Cells of the table with normal rounds, in every panel at least three points of each line."""
    rows = verdict_chart.points(dict.fromkeys(verdicts.cells(), RESULT))
    assert {row["panel"] for row in rows} == set(verdict_chart.PANELS.values())
    assert {row["line"] for row in rows} >= {"4 sessions", "8 sessions", "20 sessions"}
    for panel in verdict_chart.PANELS.values():
        failing = [row for row in rows if row["panel"] == panel and row["outcome"] == "fail"]
        assert {row["share"] for row in failing} == {30.0}
        for line in {row["line"] for row in failing}:
            lost = [row["lost"] for row in failing if row["line"] == line]
            assert len(set(lost)) == len(lost) >= 3
            assert 0.0 in lost


def test_the_command_draws_it(tmp_path, monkeypatch) -> None:
    """`--only-chart` simulates its cells and no others."""
    simulated = []
    monkeypatch.setattr(verdicts, "simulate", lambda task: (simulated.append(task[0]) or task[0], RESULT))
    path = tmp_path / "chart.svg"
    assert verdicts.main(["--only-chart", "--chart", str(path), "--processes", "1"]) == 0
    assert simulated
    assert all(map(verdict_chart.charted, simulated))
    assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_the_page_shows_it() -> None:
    """The image is beside the page that shows it."""
    page = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
    assert "](characteristics.svg)" in page
    assert (ROOT / "docs" / "characteristics.svg").exists()
