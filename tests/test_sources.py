"""docs/sources.md lists the sections of the report that code, suites and docs cite: all of them, and no others."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "docs" / "sources.md"
SECTION = r"(?:[A-T]\.\d{1,2}|\d{1,2}\.\d{1,2}(?:\.\d)?)"
LISTED = {
    section
    for line in SOURCES.read_text("utf-8").splitlines()
    if line.startswith("| ")
    for section in re.findall(rf"(?<![\w.]){SECTION}(?![\w.])", line.split("|")[1])
}
"""Both ends of a range such as `6.1 to 6.4`."""


def citing_texts() -> list[str]:
    """All that may cite the report."""
    paths = [
        path for folder in ("pytest_llmperf", "perf_suites", "docs", "baselines") for path in (ROOT / folder).rglob("*")
    ]
    texts = [
        path for path in (*paths, ROOT / "README.md") if path.suffix in (".py", ".toml", ".md") and path != SOURCES
    ]
    return [path.read_text("utf-8") for path in texts]


@pytest.fixture(scope="module")
def text() -> str:
    return "\n".join(citing_texts())


def test_every_appendix_that_is_cited_is_listed(text: str) -> None:
    """`E.1 #6`, `H.2`; a chapter's section where a technical report is named with it."""
    cited = set(re.findall(r"(?<![\w.\"'])([A-T]\.\d{1,2})(?![\w.])", text))
    cited |= set(re.findall(r"TR1\d\d(?:_v2)?, (\d{1,2}\.\d(?:\.\d)?)", text))
    assert cited - LISTED == set()


def test_every_section_that_is_listed_is_cited(text: str) -> None:
    """No row outlives what cited it."""
    assert [section for section in LISTED if not re.search(rf"(?<![\w.]){re.escape(section)}(?![\w%])", text)] == []
