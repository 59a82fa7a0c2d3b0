"""`record KIND FILE`."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

from pytest_llmperf.errors import UsageError
from pytest_llmperf.files.atomic_write import read_text
from pytest_llmperf.judge.baselines.baseline_files import load_named
from pytest_llmperf.judge.record import with_new_keys
from pytest_llmperf.report.document import VERSION, Document
from pytest_llmperf.study.records.appendix_s import RECORDS

_AGAIN = "write the file with: pytest --llmperf-json FILE"


def kind(text: str) -> str:
    """The argument KIND.

    Raises:
        ArgumentTypeError: there is no record of this kind.
    """
    if text not in RECORDS:
        raise ArgumentTypeError(f"invalid choice: {text!r} (choose from {', '.join(RECORDS)})")
    return text


def record(given: Namespace) -> int:
    """Prints a record in Markdown."""
    content = _document(given.file)
    try:
        text = RECORDS[given.kind](content, load_named("decision_card", ()))
    except (KeyError, TypeError, AttributeError) as error:  # a file of an older release, or edited
        raise UsageError(f"{given.file} lacks a field that a record needs: {error!r}", next_step=_AGAIN) from error
    print(text, end="")
    return 0


def _document(path: str) -> Document:
    """A file that `--llmperf-json` wrote.

    Raises:
        UsageError: the file is something else, or of another schema version.
    """
    try:
        content = json.loads(read_text(Path(path)))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", next_step=_AGAIN) from error
    if not isinstance(content, dict) or not isinstance(content.get("records"), list):
        raise UsageError(f"{path} is not a session of pytest-llmperf", next_step=_AGAIN)
    if content.get("schema") not in range(1, VERSION + 1):
        raise UsageError(f"{path} has schema {content.get('schema')}, wanted 1 to {VERSION}", next_step=_AGAIN)
    return {**content, "records": [with_new_keys(record) for record in content["records"]]}
