"""The prose rules of docs/prose: each flags what it is for, and no page has a finding. `make prose` runs the linter."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
STYLE = ROOT / "docs" / "prose"
SENTENCES = tomllib.loads((STYLE / "sentences.toml").read_text("utf-8"))
RULES = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in (STYLE / "House").glob("*.yml")}
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]


def pattern(rule: dict) -> re.Pattern[str]:
    """What a rule flags, as the linter reads it."""
    flags = re.IGNORECASE if rule["ignorecase"] else re.NOFLAG
    return re.compile(rf"\b(?:{'|'.join(rule['tokens'])})(?!\w)", flags)


def prose(page: Path) -> str:
    """A page without its blocks and spans of code."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_flags_its_sentence_and_not_the_better_one(name: str) -> None:
    """No other rule objects to what to write instead, either."""
    assert pattern(RULES[name]).search(SENTENCES[name]["flagged"])
    assert [rule for rule in RULES if pattern(RULES[rule]).search(SENTENCES[name]["better"])] == []


def test_every_rule_has_sentences() -> None:
    """And none besides."""
    assert SENTENCES.keys() == RULES.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_no_finding(page: Path) -> None:
    """See the rule's message for what to write."""
    text = prose(page)
    findings = [(name, match[0]) for name, rule in RULES.items() for match in pattern(rule).finditer(text)]
    assert findings == []
