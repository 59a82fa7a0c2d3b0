"""Comparisons in a pull request: old, new, change, allowed; the worst first, their context once."""

import json
import re

import pytest

from pytest_llmperf.model import Bound
from pytest_llmperf.report.comparisons import titles
from pytest_llmperf.report.document import as_text, document
from pytest_llmperf.report.files import ci_annotations, markdown
from pytest_llmperf.report.severity_order import merged
from tests.judge.build import gate
from tests.report.conftest import GATES, run_of

SOURCE = "baseline main, 4 sessions, newest saved at 2026-01-01"
SLOWER = [(100, 88 + 0.1 * index) for index in range(5)]


def stored(metric: str, value: float, bound: Bound, delta: float):
    """A gate against four stored sessions with little variance."""
    sessions = tuple(tuple(value * (1 + 0.001 * step) for step in range(-2, 3)) for _ in range(4))
    return gate(metric, value, bound, marker="regression", delta=delta, reference=sessions, source=SOURCE)


COMPARED = (
    stored("efficiency_pct", 94.3, Bound.MIN, 2.0),
    stored("system_tok_s", 205.0, Bound.MIN, 20.0),
    stored("ttft_ms", 6.0, Bound.MAX, 20.0),
    stored("speedup", 2.5, Bound.MIN, 20.0),
)


@pytest.fixture
def content() -> dict:
    """Two tests of which each has a limit that it keeps, one comparison that passes and two that fail."""
    run = run_of(together_ms=SLOWER, tests=("test_a", "test_b"), gates=(*GATES, *COMPARED))
    return json.loads(as_text(document(run)))


def tables(page: str) -> list[list[list[str]]]:
    """The rows of cells of each table, the header first."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE)
    return [[line.strip("| \n").split(" | ") for line in block.splitlines() if "---" not in line] for block in blocks]


def test_the_comment_has_a_table_of_comparisons(content) -> None:
    """With both values, the change by its sign, what is allowed; the worst of all measurements first."""
    page = markdown.page(content)
    (limits, compared, _) = tables(page)
    assert compared[0] == ["verdict", "test", "metric", "old", "new", "change", "allowed"]
    rows = {tuple(cell.replace("\\", "") for cell in row[2:]) for row in compared[1:]}
    assert ("ttft_ms", "6 ms", "10 ms", "+66.7 %", "+20 %") in rows
    assert ("efficiency_pct", "94.3 %", "94.1 %", "-0.2 pp", "-2 pp") in rows
    assert [row[0].split()[-1] for row in compared[1:]] == ["fail"] * 4 + ["pass"] * 4
    shares = [float(row[5].split()[0]) / float(row[6].split()[0]) for row in compared[1:5]]
    assert shares == sorted(shares, reverse=True)
    assert "regression" not in "".join(row[2] for row in limits)


def test_the_context_stands_once(content) -> None:
    """What is compared with; and of a measurement, however many gates fail, what ran, what was seen, what to do."""
    page = markdown.page(content)
    assert page.count(f"Compared with {SOURCE}:") == 1
    for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL):
        lines = block.splitlines()
        assert sum(line.startswith("gate ") for line in lines) == 3
        context = [line for line in lines if not line.startswith("gate ")]
        assert len(context) == len(set(context))
        assert sum(line.startswith("  SIMULATED, scenario pair") for line in context) == 1


def test_annotations_name_metric_and_change(content) -> None:
    """In the title; a limit that failed has its gate there."""
    for command in ci_annotations.github(content):
        title = re.search(r"title=(.*?)::", command)[1].replace("%3A", ":").replace("%25", "%").replace("%2C", ",")
        assert re.fullmatch(r"test_[ab]: ttft_ms worse by 66.7 %, speedup worse by 24.7 %, efficiency fail", title)
        assert command.count("scenario pair") == 1


def test_code_quality_names_metric_and_change(content) -> None:
    """And both values, what is allowed, and what it is compared with."""
    texts = [issue["description"] for issue in json.loads(ci_annotations.code_quality(content))]
    assert f"ttft_ms worse by 66.7 % (fail): 6 ms -> 10 ms, allowed +20 %; {SOURCE}" in texts


def test_a_pass_whose_interval_is_wider_than_its_limit_explains_itself(content) -> None:
    """No round of five was contended: the limit of 1 % is kept by the count, the interval reaches to 52 %."""
    (line,) = {line for line in markdown.page(content).splitlines() if line.startswith("- test\\_a")}
    assert "contention passes by the number of contended rounds (0 of 5 rounds contended" in line.replace("\\", "")
    assert re.search(r"its interval reaches 5\d(\.\d)? % because there are only 5 rounds", line)
    fine = json.loads(as_text(document(run_of(gates=GATES[:1]))))
    assert "its interval reaches" not in markdown.page(fine)


def test_comparisons_with_several_baselines_have_a_table_each() -> None:
    """So that it is plain what is old."""
    sessions = ((9.0, 9.1, 8.9),) * 4
    against_old = gate("ttft_ms", 9.0, Bound.MAX, delta=20.0, reference=sessions, source="incumbent old")
    page = markdown.page(json.loads(as_text(document(run_of(gates=(*COMPARED, against_old))))))
    assert page.count("Compared with ") == 2
    assert len(tables(page)) == 3


def test_what_is_not_comparable_has_no_change() -> None:
    """Another machine: both values, but neither a change nor a verdict."""
    asked = gate("ttft_ms", 6.0, Bound.MAX, delta=20.0, reference=((6.0, 6.1, 6.2),), not_comparable="another machine")
    page = markdown.page(json.loads(as_text(document(run_of(gates=(asked,))))))
    (row,) = tables(page)[0][1:]
    assert row[0].endswith("not comparable")


def test_few_titles_and_merged_texts() -> None:
    """A title names three and counts the rest; contexts that differ all stay."""
    words = {"gate": "ttft", "metric": "ttft_ms", "outcome": "fail"}
    verdict = {"gate": {"delta": None}, "worse_by": None}
    assert titles([(words, verdict)] * 5) == "ttft fail, ttft fail, ttft fail, 2 more"
    assert merged(["a\n  x\n  y", "b\n  x\n  z"]) == "a\nb\n  x\n  y\n  z"
    for label in ("cause", "seen"):
        first = f"a\n  x\n  {label}: 1\n  {label}: 3\n  note: 5\n  next: 6"
        second = f"b\n  x\n  {label}: 2\n  next: 7"
        causes = [f"  {label}: {number}" for number in (1, 2, 3)]
        assert merged([first, second]).split("\n") == ["a", "b", "  x", *causes, "  note: 5", "  next: 6", "  next: 7"]
