"""The files of a session: reports, each made from the session's document, and the saved baseline."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.files.atomic_write import advice, is_stream, is_there, place_of, probe, read_bytes, write_whole
from pytest_llmperf.judge.baselines import lookup, store
from pytest_llmperf.judge.diagnosis.phase_regressions import parts_of
from pytest_llmperf.judge.metrics.series import all_series
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Settings, StoredSession
from pytest_llmperf.model.texts import counted
from pytest_llmperf.report import html
from pytest_llmperf.report.document import Document, as_text, unexplained
from pytest_llmperf.report.files import ci_annotations, markdown, openmetrics
from pytest_llmperf.report.wording.baseline_text import changes


class Output(NamedTuple):
    """A kind of report.

    Attributes:
        field: the field of Settings that names the file; `--llmperf-FIELD` is its option.
        render: makes the file's text from the session's document.
        begins: a pattern for the beginning of such a file, of any release; no other file is replaced.
        check: raises if a package is missing.
    """

    field: str
    render: Callable[[Document], str]
    begins: str
    check: Callable[[], None] = lambda: None

    def path(self, settings: Settings, root: Path) -> Path | None:
        """The path of the file; None if it was not requested."""
        name: str = getattr(settings, self.field)
        return root / name if name else None


_GIT_FILES = {
    ".gitattributes": "keeps the sessions of both branches in a merge",
    ".gitignore": "ignores locks and incomplete files",
}
"""Files that a save writes for git into the baseline's folder, and their effect."""

EMPTY: Mapping[str, Path | None] = {}
OUTPUTS = (
    Output("json", as_text, r'\{\s*"schema"\s*:\s*\d+\s*,\s*"plugin_version"'),
    Output("html", html.page, r"(?is)<!doctype html>.{0,4000}?<title>pytest-llmperf: ", html.check),
    Output("markdown", markdown.page, r"### llmperf: "),
    Output(
        "codequality",
        ci_annotations.code_quality,
        r'\[\s*(\]\s*$|\{\s*"description"\s*:\s*"(\\.|[^"\\])*"\s*,\s*"check_name"\s*:\s*"llmperf\.)',
    ),
    Output("openmetrics", openmetrics.page, r"# (TYPE llmperf_|EOF\s*$)"),
)
_MOST_BYTES = 1 << 16
"""How much of an old report is read to recognise it."""

_NO_REPORTS = {".py": "Python source", ".pyi": "Python source", ".lock": "a lock"}
"""Suffixes of files that no report replaces, even if the file is empty or missing."""


def check_outputs(
    settings: Settings, root: Path, outputs: Sequence[Output] = OUTPUTS, others: Mapping[str, Path | None] = EMPTY
) -> None:
    """Checks before the run that every requested file can be written.

    Args:
        settings: the session's settings.
        root: folder that relative paths start from.
        outputs: the kinds of reports.
        others: other files of this run, which no output may replace, by the options that name them.

    Raises:
        UsageError: a file cannot be written; two options name the same file; or a report would replace a file of this
            run, a baseline, or any other file that is neither empty nor an earlier report of its kind.
        MissingExtraError: a package is not installed.
    """
    taken = [(place_of(path), name) for name, path in _inputs(settings, root, others).items()]
    baselines_dir = place_of(root / settings.baselines_dir)
    for output in outputs:
        path = output.path(settings, root)
        if path is None:
            continue
        option = f"--llmperf-{output.field}"
        output.check()
        try:
            probe(path)
            replaced = not is_stream(path)
        except OSError as error:
            raise UsageError(
                f"{option}: cannot write {path}: {error}", next_step=advice(error, f"give another {option}")
            ) from error
        if not replaced:
            continue
        place = place_of(path)
        if place.suffix == ".toml" and place.parent == baselines_dir:
            raise UsageError(
                f"{option} names a file in the baselines folder: {path}", next_step=f"give another {option}"
            )
        for file, name in taken:
            if _collide(place, file):
                raise UsageError(f"{option} and {name} name the same file: {path}", next_step="give each its own file")
        _check_replaced(output, place)
        taken.append((place, option))


def _check_replaced(output: Output, place: Path) -> None:
    """Raises UsageError unless the file is missing, empty or an earlier report of this kind."""
    option = f"--llmperf-{output.field}"
    if kind := _NO_REPORTS.get(place.suffix.lower()):
        raise UsageError(
            f"{option} names {kind}: {place}, wanted a file for a report",
            next_step=f"give another {option}",
        )
    try:
        old = read_bytes(place, _MOST_BYTES) if is_there(place) else b""
    except OSError as error:
        raise UsageError(
            f"{option}: cannot tell whether {place} is an earlier report: {error}",
            next_step=f"give another {option}, or remove the file",
        ) from error
    text = old.decode("utf-8-sig", "replace").strip()
    if text and not re.match(output.begins, text):
        raise UsageError(
            f"{option} would replace a file that is not its report: {place}, wanted a new file, an empty one or an "
            f"earlier report of {option}",
            next_step=f"give another {option}, or move the file away",
        )


def write_output(output: Output, content: Document, settings: Settings, root: Path) -> str:
    """Writes a report completely or not at all.

    Args:
        output: the kind of report.
        content: the session's document.
        settings: the session's settings.
        root: folder that a relative path starts from.

    Returns:
        What was written, in words; empty if the report was not requested.

    Raises:
        LlmperfError: the file cannot be written, or the document has a figure that is not a finite number.
    """
    path = output.path(settings, root)
    if path is None:
        return ""
    if not content["records"] and not unexplained(content):
        return f"{path} was not written: nothing was measured"
    try:
        text = output.render(content)
    except LlmperfError as error:
        raise LlmperfError(f"{path} was not written: {error.args[0]}", next_step=error.next_step) from error
    try:
        write_whole(path, text)
    except OSError as error:
        raise LlmperfError(
            f"cannot write {path}: {error}", next_step=advice(error, f"give another --llmperf-{output.field}")
        ) from error
    return f"wrote {path}"


def save_baseline(
    records: Sequence[Record], settings: Settings, root: Path, accepted: Sequence[Record]
) -> tuple[str, bool]:
    """Adds a session of every passing test to the baseline `--llmperf-save`.

    With `--llmperf-update`, it replaces the stored sessions.

    Args:
        records: the records of the whole run.
        settings: name the baseline.
        root: folder that a relative path starts from.
        accepted: the records whose test passed.

    Returns:
        What was saved, in words, empty if nothing was requested; and whether this is a failure (nothing was saved).

    Raises:
        LlmperfError: the file cannot be written; the old one is intact.
    """
    name = settings.save or settings.update
    if not name:
        return "", False
    refused = sorted({record.test for record in records} - {record.test for record in accepted})
    words = f"; not saved because they did not pass: {', '.join(refused)}" if refused else ""
    if empty := [record.test for record in accepted if not record.measurement.rounds]:
        words += f"; not saved because the client was saturated in every round: {', '.join(dict.fromkeys(empty))}"
        accepted = [record for record in accepted if record.measurement.rounds]
    if not accepted:
        words = f"nothing saved to baseline {name}: no test passed with a measurement{words}"
        return (
            f"{words}\n  next: run tests that measure and pass, or omit --llmperf-save and --llmperf-update",
            True,
        )
    saved = [(lookup.key_of(record.test, record.measurement), _stored(record)) for record in accepted]
    count = counted(len(accepted), "measurement")
    directory = root / settings.baselines_dir
    folder = place_of(directory / f"{name}.toml").parent
    before = [path for path in map(folder.joinpath, _GIT_FILES) if is_there(path)]
    if settings.update:
        change = store.update(name, directory, saved)
        text = "\n".join((f"updated {count} in {change.path}{words}", *changes(change.before, change.after)))
        return text + _git_files_words(folder, before), False
    path = store.save(name, directory, saved)
    return f"saved {count} to {path}{words}{_git_files_words(folder, before)}", False


def _git_files_words(folder: Path, before: Sequence[Path]) -> str:
    """The files written for git, in words; empty if there are none."""
    written = [(folder / name, effect) for name, effect in _GIT_FILES.items()]
    return "".join(
        f"\nwrote {path}: git {effect}; commit this file, too"
        for path, effect in written
        if path not in before and is_there(path)
    )


def _stored(record: Record) -> StoredSession:
    """The session that a baseline stores; nine digits keep a nanosecond of a second and are easier to review."""
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


def _inputs(settings: Settings, root: Path, others: Mapping[str, Path | None]) -> dict[str, Path]:
    """The input files of a run, by the options that name them."""
    folder, named = root / settings.baselines_dir, {**others}
    named["--llmperf-config"] = Path(settings.config_file or root / "llmperf.toml")
    for field, option in (("gguf", "gguf"), ("faults", "faults"), ("ca_file", "ca"), ("ollama_bin", "ollama-bin")):
        named[f"--llmperf-{option}"] = Path(value) if (value := getattr(settings, field)) else None
    for field in ("baseline", "compare", "save", "update"):
        if name := getattr(settings, field):
            named[f"--llmperf-{field}"] = root / name if name.endswith(".toml") else folder / f"{name}.toml"
    return {option: path for option, path in named.items() if path is not None}


def _collide(place: Path, taken: Path) -> bool:
    """Whether two paths are the same file (also on case-insensitive disks), or one is a folder of the other."""
    if place == taken or place in taken.parents or taken in place.parents:
        return True
    try:
        return place.stat().st_nlink == 1 and place.samefile(taken)
    except OSError:
        return False
