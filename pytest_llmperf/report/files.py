"""Files that a session leaves: the JSON of every raw timing, and the saved baseline."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.judge import baselines
from pytest_llmperf.judge.evidence import evidence_of
from pytest_llmperf.judge.metrics import all_series
from pytest_llmperf.judge.policy import in_words
from pytest_llmperf.judge.record import Record, as_plain
from pytest_llmperf.model import Settings, StoredSession
from pytest_llmperf.report.figures import figures
from pytest_llmperf.report.stored import changes

JSON_SCHEMA = 1


def write_json(records: Sequence[Record], settings: Settings, root: Path, accepted: Sequence[Record]) -> str:
    """Writes `--llmperf-json`; whole or not at all.

    Args:
        records: of the whole run.
        settings: which file.
        root: folder that a relative path starts from.
        accepted: those of the records whose test passed.

    Returns:
        What was written, in words; empty where nothing was asked for.

    Raises:
        LlmperfError: the file cannot be written, or holds a figure that is no number.
    """
    if not settings.json:
        return ""
    if not records:
        return f"{settings.json} was not written: nothing was measured"
    path = root / settings.json
    document = {
        "schema": JSON_SCHEMA,
        "plugin_version": version("pytest-llmperf"),
        "written_at": datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        "settings": asdict(settings),
        "policy": in_words(settings),
        "records": [_as_json(record, records, passed=record in accepted) for record in records],
    }
    try:
        text = json.dumps(document, indent=1, allow_nan=False)
    except ValueError as error:
        raise LlmperfError(
            f"{settings.json} was not written: {error}", next_step="report this: a figure is no number"
        ) from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(f"{text}\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise LlmperfError(
            f"cannot write {path}: {error}", next_step="free some space or give another --llmperf-json"
        ) from error
    return f"wrote {path}"


def save_baseline(records: Sequence[Record], settings: Settings, root: Path, accepted: Sequence[Record]) -> str:
    """Adds a session of every passing test's rounds to the baseline `--llmperf-save`.

    In that of `--llmperf-update` it takes the place of those that are there.

    Args:
        records: of the whole run.
        settings: which baseline.
        root: folder that a relative path starts from.
        accepted: those of the records whose test passed.

    Returns:
        What was saved, in words; empty where nothing was asked for.

    Raises:
        LlmperfError: the file cannot be written; the old one is intact.
    """
    name = settings.save or settings.update
    if not name:
        return ""
    refused = sorted({record.test for record in records} - {record.test for record in accepted})
    words = f"; not saved, since they did not pass: {', '.join(refused)}" if refused else ""
    if not accepted:
        return f"saved nothing to baseline {name}: no test passed with a measurement{words}"
    saved = [(baselines.key_of(record.test, record.measurement), _stored(record)) for record in accepted]
    count = f"{len(accepted)} measurement{'' if len(accepted) == 1 else 's'}"
    directory = root / settings.baselines_dir
    if settings.update:
        change = baselines.update(name, directory, saved)
        return "\n".join((f"updated {count} in {change.path}{words}", *changes(change.before, change.after)))
    return f"saved {count} to {baselines.save(name, directory, saved)}{words}"


def _stored(record: Record) -> StoredSession:
    """What a baseline keeps of a record; nine digits hold a nanosecond of a second, and are fewer to review."""
    measurement = record.measurement
    rounds = {
        name: tuple(float(f"{value:.9g}") for value in values) for name, values in all_series(measurement).items()
    }
    return StoredSession(saved_at=measurement.started_at, manifest=measurement.manifest.facts, rounds=rounds)


def _as_json(record: Record, records: Sequence[Record], *, passed: bool) -> dict[str, Any]:
    return {
        **as_plain([record])[0],
        "passed": passed,
        "evidence": asdict(evidence_of(record, records)),
        "figures": figures(record, records),
    }
