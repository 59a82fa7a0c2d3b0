"""What failed, at the lines of the tests: GitHub's annotations and GitLab's Code Quality report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmperf.report.document import Document

_GITHUB = {"fail": "error", "warn": "warning", "skip": "notice"}
_GITLAB = {"fail": "major", "warn": "minor", "skip": "info"}


def github(found: Document) -> list[str]:
    """Workflow commands to print, one for each measurement and level: GitHub shows few of them.

    Args:
        found: the session's document.
    """
    lines = []
    for record in found["records"]:
        file, line = _location(record)
        for action, level in _GITHUB.items():
            texts = [words["text"] for words in record["judged"] if words["action"] == action]
            texts += [one["text"] for one in record["remarks"] if one["level"] == action]
            if texts:
                title = f"{record['test'].rpartition('::')[2]}: {_gates(record, action) or texts[0].partition(':')[0]}"
                where = f"file={_property(file)},line={line},title={_property(title)}"
                lines.append(f"::{level} {where}::{_data(chr(10).join(texts))}")
    return lines


def code_quality(found: Document) -> str:
    """GitLab's Code Quality report, an entry for each verdict that did not pass.

    Args:
        found: the session's document.
    """
    return json.dumps(list(_issues(found)), indent=1) + "\n"


def _issues(found: Document) -> Iterator[Mapping[str, Any]]:
    for record in found["records"]:
        file, line = _location(record)
        measurement = record["measurement"]
        what = (record["test"], measurement["scenario"]["name"], measurement["topology"]["kind"])
        entries = [(one["gate"], one["metric"], one["action"], one["text"]) for one in record["judged"]]
        # A remark begins with what it is about, e.g. `soak: efficiency_pct critical`, and goes on with figures.
        entries += [(*_subject(one["text"]), one["level"], one["text"]) for one in record["remarks"]]
        for check, about, action, text in entries:
            if action in _GITLAB:
                yield {
                    "description": text.partition("\n")[0],
                    "check_name": f"llmperf.{check}",
                    "fingerprint": hashlib.sha256("\0".join((*what, check, about)).encode()).hexdigest(),
                    "severity": _GITLAB[action],
                    "location": {"path": file, "lines": {"begin": line}},
                }


def _subject(text: str) -> tuple[str, str]:
    """`soak`, `efficiency_pct` of `soak: efficiency_pct critical: ...`."""
    first, _, rest = text.partition(": ")
    return first, rest.partition(" ")[0]


def _location(record: Mapping[str, Any]) -> tuple[str, int]:
    where = record.get("location") or {"file": record["test"].partition("::")[0], "line": 1}
    return where["file"], where["line"]


def _gates(record: Mapping[str, Any], action: str) -> str:
    return ", ".join(f"{one['gate']} {one['outcome']}" for one in record["judged"] if one["action"] == action)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
