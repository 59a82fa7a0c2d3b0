"""Everything that a session leaves, written once, at its end; each file alone: one that fails costs no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.report import ci, markdown
from pytest_llmperf.report.document import Document, Run, document
from pytest_llmperf.report.endings import any_failed
from pytest_llmperf.report.files import OUTPUTS, Output, save_baseline, write_output
from pytest_llmperf.report.history import past_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of it.

    Attributes:
        messages: for the reader, each with whether it tells of a failure.
        commands: lines that the CI system reads from the output.
    """

    messages: tuple[tuple[str, bool], ...]
    commands: tuple[str, ...] = ()


def write_all(run: Run, root: Path, environ: Mapping[str, str], outputs: Sequence[Output] = OUTPUTS) -> Written:
    """Writes the reports that were asked for, the saved baseline, and a GitHub Actions job's summary page.

    Args:
        run: what was measured.
        root: folder that relative paths start from.
        environ: the process' environment, which tells what CI system this is.
        outputs: files that may be asked for.
    """
    settings = run.settings
    asked = [output for output in outputs if output.path(settings, root)]
    told = bool(run.records) or any_failed(run.tests)
    on_github = settings.github and environ.get("GITHUB_ACTIONS") == "true" and told
    found = document(replace(run, stored=past_of(settings, root))) if asked or on_github else {}
    messages = []
    for write in (
        *(partial(write_output, output, found, settings, root) for output in asked),
        partial(save_baseline, run.records, settings, root, run.accepted),
    ):
        try:
            messages.append((write(), False))
        except LlmperfError as error:
            messages.append((f"{type(error).__name__}: {error}", True))
    if on_github and (summary := environ.get("GITHUB_STEP_SUMMARY")):
        messages.append((append_summary(found, Path(summary)), False))
    commands = ci.github(found) if on_github else []
    return Written(messages=tuple(messages), commands=tuple(commands))


def append_summary(found: Document, path: Path) -> str:
    """Adds the Markdown to the summary page of a job.

    Args:
        found: the session's document.
        path: what `GITHUB_STEP_SUMMARY` names.

    Returns:
        What could not be done, in words, or nothing: nobody asked for it, so that it fails no session.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(markdown.page(found))
    except OSError as error:
        return f"the summary page of this job was not written: {error}"
    return ""
