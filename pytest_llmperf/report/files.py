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
from pytest_llmperf.judge.metrics import all_series
from pytest_llmperf.judge.record import Record, as_plain
from pytest_llmperf.model import Settings, StoredSession
from pytest_llmperf.report.figures import figures

JSON_SCHEMA = 1


def write_json(records: Sequence[Record], settings: Settings, root: Path, passed: frozenset[str]) -> str:
    """Writes `--llmperf-json`; whole or not at all.

    Returns:
        What was written, in words; empty where nothing was asked for.

    Raises:
        LlmperfError: the file cannot be written.
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
        "records": [_as_json(record, passed) for record in records],
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise LlmperfError(
            f"cannot write {path}: {error}", next_step="free some space or give another --llmperf-json"
        ) from error
    return f"wrote {path}"


def save_baseline(records: Sequence[Record], settings: Settings, root: Path, passed: frozenset[str]) -> str:
    """Adds a session of every passing test's rounds to the baseline `--llmperf-save`.

    Returns:
        What was saved, in words; empty where nothing was asked for.

    Raises:
        LlmperfError: the file cannot be written; the old one is intact.
    """
    if not settings.save:
        return ""
    accepted = [record for record in records if record.test in passed]
    refused = sorted({record.test for record in records} - passed)
    words = f"; not saved, since they did not pass: {', '.join(refused)}" if refused else ""
    if not accepted:
        return f"saved nothing to baseline {settings.save}: no test passed with a measurement{words}"
    path = baselines.save(
        settings.save, root / settings.baselines_dir, [(_key(record), _stored(record)) for record in accepted]
    )
    return f"saved {len(accepted)} measurements to {path}{words}"


def _key(record: Record) -> Any:
    return baselines.key_of(record.test, record.measurement)


def _stored(record: Record) -> StoredSession:
    measurement = record.measurement
    return StoredSession(
        saved_at=measurement.started_at, manifest=measurement.manifest.facts, rounds=all_series(measurement)
    )


def _as_json(record: Record, passed: frozenset[str]) -> dict[str, Any]:
    return {**as_plain([record])[0], "passed": record.test in passed, "figures": figures(record)}
