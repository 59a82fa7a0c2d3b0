"""docs/glossary.md has an entry for every metric and every outcome, and no entry for what does not exist."""

import re
from pathlib import Path

from pytest_llmperf.judge.gates.evidence_grade import grade
from pytest_llmperf.judge.metrics.series import CATALOGUE
from pytest_llmperf.model import Outcome

PAGE = (Path(__file__).parent.parent / "docs" / "glossary.md").read_text(encoding="utf-8")
VARIATION = "_cv_pct"


def rows(heading: str) -> list[list[str]]:
    """The cells of the rows below a table's heading."""
    _, _, rest = PAGE.partition(f"{heading}\n")
    table = rest.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def test_every_metric_has_an_entry_with_its_unit() -> None:
    """In the catalogue's order; coefficients of variation share one, and percentiles do."""
    entries = {name.strip("`"): unit for name, unit, _ in rows("| metric | unit | meaning |")}
    assert entries.pop(f"*{VARIATION}") == "%"
    assert entries.pop("*_p95_ms") == "ms"
    alone = [line for line in CATALOGUE.values() if line.percentile is None and not line.name.endswith(VARIATION)]
    assert entries == {metric.name: metric.unit for metric in alone}


def test_every_outcome_has_an_entry() -> None:
    assert [name.strip("`") for name, _ in rows("| outcome | meaning |")] == [str(outcome) for outcome in Outcome]


def test_no_entry_is_empty() -> None:
    """Each term has a meaning."""
    assert re.findall(r"^\|[^|]+\| *\|$", PAGE, flags=re.MULTILINE) == []


def test_the_grades_are_those_of_the_code() -> None:
    """By rounds."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith("| evidence grade |")]
    for rounds, words in (
        (2, "exploratory (1 to 2 rounds)"),
        (4, "directional (3 to 4)"),
        (5, "publishable (5 or more)"),
    ):
        assert words.startswith(grade(rounds))
        assert words in line
