"""Writes all files of a session at its end; a file that fails does not affect the others.

The baseline is saved first: its rounds cannot be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.files.atomic_write import append
from pytest_llmperf.report.document import Document, Run, document
from pytest_llmperf.report.files import ci_annotations, markdown
from pytest_llmperf.report.files.output_formats import OUTPUTS, Output, save_baseline, write_output
from pytest_llmperf.report.repository_paths import inside
from pytest_llmperf.report.session_outcomes import any_failed
from pytest_llmperf.report.wording.baseline_history import past_of

_T = TypeVar("_T")
Message = tuple[str, bool]
"""For the reader, and whether it tells of a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The result of writing the outputs.

    Attributes:
        messages: for the reader, each with whether it tells of a failure.
        commands: lines that the CI system reads from the output.
    """

    messages: tuple[Message, ...]
    commands: tuple[str, ...] = ()


def write_all(run: Run, root: Path, environ: Mapping[str, str], outputs: Sequence[Output] = OUTPUTS) -> Written:
    """Writes the requested reports, the saved baseline, and a GitHub Actions job's summary page.

    Args:
        run: the results of the session.
        root: folder that relative paths start from.
        environ: the process' environment, which identifies the CI system.
        outputs: the kinds of reports.
    """
    settings = run.settings
    asked = [output for output in outputs if output.path(settings, root)]
    told = bool(run.records) or any_failed(run.tests)
    on_github = settings.github and environ.get("GITHUB_ACTIONS") == "true" and told
    messages: list[Message] = []
    made = None
    if asked or on_github:  # before the save: the history ends before this run
        made = _tried(
            lambda: document(replace(run, stored=past_of(settings, root), inside=inside(root, environ))),
            "the reports",
            messages,
        )
    saved: list[Message] = []
    _tried(lambda: saved.append(save_baseline(run.records, settings, root, run.accepted)), "the baseline", saved)
    if made is not None:
        for output in asked:
            write = partial(write_output, output, made, settings, root)
            messages.append((_tried(write, str(output.path(settings, root)), messages) or "", False))
    messages += saved
    commands: Sequence[str] = ()
    if on_github and made is not None:
        if summary := environ.get("GITHUB_STEP_SUMMARY"):
            add = partial(append_summary, made, Path(summary))
            messages.append((_tried(add, "the summary page of this job", messages) or "", False))
        commands = _tried(partial(ci_annotations.github, made), "the annotations", messages) or ()
    return Written(messages=tuple(messages), commands=tuple(commands))


def _tried(work: Callable[[], _T], name: str, messages: list[Message]) -> _T | None:
    """The result of the work; a failure becomes a message, and the rest continues.

    Args:
        work: writes or makes something.
        name: the name of the output, for the message about an internal error.
        messages: receives the message.
    """
    try:
        return work()
    except LlmperfError as error:
        messages.append((f"{type(error).__name__}: {error}", True))
    except Exception as error:
        words = f"not written: {name}: {type(error).__name__}: {error}"
        messages.append((f"{words}\n  next: report this bug of pytest-llmperf; the other files were written", True))
    return None


def append_summary(content: Document, path: Path) -> str:
    """Appends the Markdown to the summary page of a job.

    Args:
        content: the session's document.
        path: the value of `GITHUB_STEP_SUMMARY`.

    Returns:
        An error in words, or an empty text. It fails no session, since nobody requested the page.
    """
    try:
        append(path, markdown.page(content))
    except OSError as error:
        return f"the summary page of this job was not written: {error}"
    return ""
