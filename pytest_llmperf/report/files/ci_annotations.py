"""Failures at the tests' lines: GitHub annotations and GitLab's Code Quality report."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmperf.model.node_id import file_of, short_name
from pytest_llmperf.report.comparisons import description, judged, titles
from pytest_llmperf.report.document import Document, endings_of, unexplained
from pytest_llmperf.report.session_outcomes import Ending
from pytest_llmperf.report.severity_order import merged

_GITHUB = {"fail": "error", "warn": "warning", "skip": "notice"}
_GITLAB = {"fail": "major", "warn": "minor", "skip": "info"}


def github(content: Document) -> list[str]:
    """Workflow commands to print, one per measurement and level and per other failure; GitHub shows only the first few.

    Args:
        content: the session's document.
    """
    lines = []
    endings = endings_of(content)
    for test in unexplained(content):
        title = f"{short_name(test['test'])}: {test['text'].partition(':')[0]}"
        lines.append(_command("error", _place(content, test["file"], test["line"]), title, test["text"]))
    for record in content["records"]:
        for action in _GITHUB:
            own = [(words, verdict) for _, words, verdict in judged([record]) if words["action"] == action]
            texts = [words["text"] for words, _ in own]
            texts += [remark["text"] for remark in record["remarks"] if remark["level"] == action]
            if texts:
                title = f"{short_name(record['test'])}: {titles(own) or texts[0].partition(':')[0]}"
                level = _GITHUB[_taken(action, endings.get(record["test"]))]
                lines.append(_command(level, _location(content, record), title, merged(texts)))
    return lines


def _command(level: str, where: tuple[str, int], title: str, text: str) -> str:
    file, line = where
    return f"::{level} file={_property(file)},line={line},title={_property(title)}::{_data(text)}"


def _taken(action: str, ending: str | None) -> str:
    """The effective action: a test that passed in the end (expected failure, or rerun) is not failed."""
    return "skip" if action == "fail" and ending not in (None, Ending.FAILED) else action


def code_quality(content: Document) -> str:
    """GitLab's Code Quality report, an entry per verdict other than a pass, and per other failure.

    Args:
        content: the session's document.
    """
    return json.dumps(list(_issues(content)), indent=1) + "\n"


def _issues(content: Document) -> Iterator[Mapping[str, Any]]:
    endings = endings_of(content)
    for test in unexplained(content):
        yield _issue(("test",), (test["test"],), "fail", test["text"], _place(content, test["file"], test["line"]))
    for record in content["records"]:
        measurement = record["measurement"]
        subject = (record["test"], measurement["scenario"]["name"], measurement["topology"]["kind"])
        entries = [
            (words["gate"], words["metric"], words["action"], description(words, verdict))
            for _, words, verdict in judged([record])
        ]
        # A remark begins with its subject, e.g. `soak: efficiency_pct critical`, followed by figures.
        entries += [(*_subject(remark["text"]), remark["level"], remark["text"]) for remark in record["remarks"]]
        for check, about, action, text in entries:
            if action in _GITLAB:
                taken = _taken(action, endings.get(record["test"]))
                yield _issue((check, about), subject, taken, text, _location(content, record))


def _issue(
    check: tuple[str, ...], subject: tuple[str, ...], action: str, text: str, where: tuple[str, int]
) -> Mapping[str, Any]:
    """An entry; its fingerprint is stable between runs."""
    return {
        "description": text.partition("\n")[0],
        "check_name": f"llmperf.{check[0]}",
        "fingerprint": hashlib.sha256("\0".join((*subject, *check)).encode()).hexdigest(),
        "severity": _GITLAB[action],
        "location": {"path": where[0], "lines": {"begin": where[1]}},
    }


def _subject(text: str) -> tuple[str, str]:
    """`soak`, `efficiency_pct` of `soak: efficiency_pct critical: ...`."""
    first, _, rest = text.partition(": ")
    return first, rest.partition(" ")[0]


def _location(content: Document, record: Mapping[str, Any]) -> tuple[str, int]:
    where = record.get("location") or {"file": file_of(record["test"]), "line": 1}
    return _place(content, where["file"], where["line"])


def _place(content: Document, file: str, line: int) -> tuple[str, int]:
    """A file's path in its repository, as CI systems need it."""
    return posixpath.normpath(posixpath.join(content.get("root_in_repository", ""), file.replace(os.sep, "/"))), line


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
