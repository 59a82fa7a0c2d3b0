"""Files that a session leaves: reports, each made from the session's document, and the saved baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.judge import baselines
from pytest_llmperf.judge.metrics import all_series
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.slower import parts_of
from pytest_llmperf.model import Settings, StoredSession
from pytest_llmperf.report import ci, html, markdown, openmetrics
from pytest_llmperf.report.document import Document, as_text, unexplained
from pytest_llmperf.report.stored import changes
from pytest_llmperf.whole import temporary_of, write_whole


class Output(NamedTuple):
    """A file that may be asked for.

    Attributes:
        field: of Settings that names the file; `--llmperf-FIELD` is its option.
        render: the file's text, from the session's document.
        check: raises where a package is missing that it needs.
    """

    field: str
    render: Callable[[Document], str]
    check: Callable[[], None] = lambda: None

    def path(self, settings: Settings, root: Path) -> Path | None:
        """Where to; None where nothing was asked for."""
        name: str = getattr(settings, self.field)
        return root / name if name else None


OUTPUTS = (
    Output("json", as_text),
    Output("html", html.page, html.check),
    Output("markdown", markdown.page),
    Output("codequality", ci.code_quality),
    Output("openmetrics", openmetrics.page),
)


def check_outputs(settings: Settings, root: Path, outputs: Sequence[Output] = OUTPUTS) -> None:
    """Whether every file that was asked for can be written: a measurement is too dear to lose.

    Args:
        settings: which files.
        root: folder that relative paths start from.
        outputs: that may be asked for.

    Raises:
        UsageError: one cannot; or two are one.
        MissingExtraError: a package that one needs is not installed.
    """
    taken: dict[Path, str] = {}
    for output in outputs:
        path = output.path(settings, root)
        if path is None:
            continue
        option = f"--llmperf-{output.field}"
        if path in taken:
            raise UsageError(
                f"{option} and {taken[path]} name one file: {path}", next_step="give each a file of its own"
            )
        taken[path] = option
        output.check()
        try:
            _probe(path)
        except OSError as error:
            raise UsageError(f"{option}: cannot write {path}: {error}", next_step=f"give another {option}") from error


def write_output(output: Output, found: Document, settings: Settings, root: Path) -> str:
    """Writes one file; whole or not at all.

    Args:
        output: which.
        found: the session's document.
        settings: which file.
        root: folder that a relative path starts from.

    Returns:
        What was written, in words; empty where nothing was asked for.

    Raises:
        LlmperfError: the file cannot be written, or the document holds a figure that is no number.
    """
    path = output.path(settings, root)
    if path is None:
        return ""
    if not found["records"] and not unexplained(found):
        return f"{path} was not written: nothing was measured"
    try:
        text = output.render(found)
    except LlmperfError as error:
        raise LlmperfError(f"{path} was not written: {error.args[0]}", next_step=error.next_step) from error
    try:
        write_whole(path, text)
    except OSError as error:
        raise LlmperfError(
            f"cannot write {path}: {error}", next_step=f"free some space or give another --llmperf-{output.field}"
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
    if empty := [record.test for record in accepted if not record.measurement.rounds]:
        words += f"; not saved, since the client could not keep up in any round: {', '.join(dict.fromkeys(empty))}"
        accepted = [record for record in accepted if record.measurement.rounds]
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
    return StoredSession(
        saved_at=measurement.started_at,
        manifest=measurement.manifest.facts,
        rounds=rounds,
        parts=parts_of(measurement),
    )


def _probe(path: Path) -> None:
    """Raises OSError where no file of that name could be written."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    folder = next(parent for parent in path.parents if parent.exists())
    temporary = folder / temporary_of(path).name
    temporary.touch()
    temporary.unlink()
