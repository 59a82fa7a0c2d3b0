"""The prose rules of docs/prose: each flags its sentence, and neither pages nor docstrings and comments have findings.

`make prose` runs the linter, which applies the same rules.
"""

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
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
    """The expression that the linter makes of a rule."""
    flags = re.IGNORECASE if rule["ignorecase"] else re.NOFLAG
    return re.compile(rf"\b(?:{'|'.join(rule['tokens'])})\b", flags)


PATTERNS = {name: pattern(rule) for name, rule in RULES.items()}
PACKAGES = ("pytest_llmperf", "perf_suites", "benchmarks", "docs", "tests")


def findings(text: str) -> list[tuple[str, str]]:
    """The rule and the words of each finding."""
    return [(name, match[0]) for name, rule in PATTERNS.items() for match in rule.finditer(text)]


def prose(page: Path) -> str:
    """A page without its blocks and spans of code."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def on_one_line(text: str) -> str:
    """Lines joined with single spaces, without the marks of comments and the indentation."""
    return re.sub(r"\s*\n\s*(?:# ?)*", " ", text)


def docstrings(module: str) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring of modules, classes and functions, and of the strings below attributes."""
    for node in ast.walk(ast.parse(module)):
        body = getattr(node, "body", None)
        for child in body if isinstance(body, list) else ():
            match child:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield child.lineno, text


def comments(module: str) -> Iterator[tuple[int, str]]:
    """First line and text of each comment; comments at the same column of adjacent lines are one comment."""
    blocks: list[list[tokenize.TokenInfo]] = []
    for token in tokenize.generate_tokens(io.StringIO(module).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            if blocks and blocks[-1][-1].start == (line - 1, column):
                blocks[-1].append(token)
            else:
                blocks.append([token])
    return ((block[0].start[0], "\n".join(token.string for token in block)) for block in blocks)


def module_findings(module: str) -> list[tuple[int, str, str]]:
    """Line, rule and words of each finding in the docstrings and comments; one that begins with "Of" is a finding."""
    raw = on_one_line(module)
    if '"""Of ' not in raw and not findings(raw):  # most modules need no parsing
        return []
    texts = sorted([*docstrings(module), *comments(module)])
    flagged = [(line, *finding) for line, text in texts for finding in findings(on_one_line(without_code(text)))]
    return flagged + [(line, "OfPrefix", "Of") for line, text in texts if re.match(r"(?:# )?Of\b", text)]


def without_code(text: str) -> str:
    """The text with a mark in place of each span of code."""
    return re.sub(r"`[^`]*`", "`", text)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_flags_its_sentence_and_not_the_better_one(name: str) -> None:
    """No other rule objects to what to write instead, either."""
    assert PATTERNS[name].search(SENTENCES[name]["flagged"])
    assert findings(SENTENCES[name]["better"]) == []


def test_every_rule_has_sentences() -> None:
    """And none besides."""
    assert SENTENCES.keys() == RULES.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_no_finding(page: Path) -> None:
    """See the rule's message for what to write."""
    assert findings(prose(page)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_and_comments_have_no_finding(package: str) -> None:
    """See the rule's message for what to write."""
    modules = sorted((ROOT / package).rglob("*.py"))
    flagged = [
        (str(path.relative_to(ROOT)), *finding)
        for path in modules
        for finding in module_findings(path.read_text("utf-8"))
    ]
    assert modules
    assert flagged == []


def test_the_findings_of_a_module() -> None:
    """All kinds of docstrings and comments are checked, across lines; code, strings and spans of code are not."""
    module = '''"""A module.

The limit lies below; the limit `lies` is code.
"""

PARTS = "the one that"
"""Of a round."""
NAMES = 1  # is told
# values are those
# of the reads


class Value:
    """The sum of
    so many values.
    """

    def where_it_is(self):
        """Unless where `x` it is."""
'''
    assert module_findings(module) == [
        (1, "StandsLies", "lies"),
        (7, "OfPrefix", "Of a "),
        (8, "ToldSaid", "is told"),
        (9, "OfPrefix", "those of"),
        (14, "SoMany", "so many"),
        (7, "OfPrefix", "Of"),
    ]
