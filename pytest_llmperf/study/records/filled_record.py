"""Writes a record of appendix S from the measurements of a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_llmperf.errors import LlmperfError, UsageError, one_of
from pytest_llmperf.files.atomic_write import advice, write_whole
from pytest_llmperf.judge.baselines.baseline_files import load_named
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Outcome, Settings
from pytest_llmperf.report.document import Run, document
from pytest_llmperf.report.wording.baseline_history import past_of
from pytest_llmperf.study.records.appendix_s import RECORDS


def fill(kind: str, records: Sequence[Record], settings: Settings, root: Path, *, also: str = "") -> Path:
    """Writes `KIND-record.md` to the results folder.

    Args:
        kind: one of RECORDS.
        records: at least one record; a record whose gates all pass counts as passed.
        settings: the settings of the session.
        root: folder that the paths of results and baselines start from.
        also: Markdown to append.

    Returns:
        The file.

    Raises:
        UsageError: the kind is unknown, or there are no records.
        LlmperfError: the file cannot be written.
    """
    if kind not in RECORDS:
        raise UsageError(f"unknown record {kind!r}", next_step=f"use {one_of(kind, RECORDS)}")
    if not records:
        raise UsageError(f"record {kind}: nothing was measured", next_step="pass the records that run_agents returns")
    passed = [record for record in records if all(verdict.outcome is Outcome.PASS for verdict in record.verdicts)]
    content = document(Run(records=records, settings=settings, accepted=passed, stored=past_of(settings, root)))
    text = RECORDS[kind](content, load_named("decision_card", ()))
    path = root / settings.results / f"{kind}-record.md"
    try:
        write_whole(path, f"{text.rstrip()}\n\n{also}\n" if also else text)
    except OSError as error:
        raise LlmperfError(
            f"cannot write {path}: {error}", next_step=advice(error, "give another --llmperf-results")
        ) from error
    return path
