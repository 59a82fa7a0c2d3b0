"""Files that a session leaves: reports, each made from the session's document, and the saved baseline."""

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
from pytest_llmperf.report import html
from pytest_llmperf.report.document import Document, as_text, unexplained
from pytest_llmperf.report.files import ci_annotations, markdown, openmetrics
from pytest_llmperf.report.wording.baseline_text import changes


class Output(NamedTuple):
    """A file that may be asked for.

    Attributes:
        field: of Settings that names the file; `--llmperf-FIELD` is its option.
        render: the file's text, from the session's document.
        begins: pattern of how every such file begins, of this release and older ones; no other file is replaced.
        check: raises where a package is missing that it needs.
    """

    field: str
    render: Callable[[Document], str]
    begins: str
    check: Callable[[], None] = lambda: None

    def path(self, settings: Settings, root: Path) -> Path | None:
        """Where to; None where nothing was asked for."""
        name: str = getattr(settings, self.field)
        return root / name if name else None


_TOLD = {
    ".gitattributes": "keeps the sessions of both branches when it merges",
    ".gitignore": "leaves locks and half-written files out",
}
"""Files that a save writes for git beside a baseline, and what git does by them."""

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
"""Of an old report, to know it by."""

_NO_REPORTS = {".py": "Python source", ".pyi": "Python source", ".lock": "a lock"}
"""Files that no report replaces, even empty or missing ones, by suffix."""


def check_outputs(
    settings: Settings, root: Path, outputs: Sequence[Output] = OUTPUTS, others: Mapping[str, Path | None] = EMPTY
) -> None:
    """Whether every file that was asked for can be written: a measurement is too dear to lose.

    Args:
        settings: which files.
        root: folder that relative paths start from.
        outputs: that may be asked for.
        others: files of this run that an output would destroy, by the options that name them.

    Raises:
        UsageError: one cannot; two are one; or one would take the place of a file of this run, of a baseline, or of
            any other file that is not empty and no earlier report of its kind.
        MissingExtraError: a package that one needs is not installed.
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
            raise UsageError(f"{option} names a file among the baselines: {path}", next_step=f"give another {option}")
        for file, name in taken:
            if _collide(place, file):
                raise UsageError(f"{option} and {name} name one file: {path}", next_step="give each a file of its own")
        _check_replaced(output, place)
        taken.append((place, option))


def _check_replaced(output: Output, place: Path) -> None:
    """Whether what is in an output's place may go: nothing, an empty file or an earlier report; raises UsageError."""
    option = f"--llmperf-{output.field}"
    if kind := _NO_REPORTS.get(place.suffix.lower()):
        raise UsageError(
            f"{option} names a file that would be {kind}: {place}, wanted a file for a report",
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
            f"{option} would replace a file that it has not written: {place}, wanted a new file, an empty one or an "
            f"earlier report of {option}",
            next_step=f"give another {option}, or move the file away",
        )


def write_output(output: Output, content: Document, settings: Settings, root: Path) -> str:
    """Writes one file; whole or not at all.

    Args:
        output: which.
        content: the session's document.
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
    """Adds a session of every passing test's rounds to the baseline `--llmperf-save`.

    In that of `--llmperf-update` it takes the place of those that are there.

    Args:
        records: of the whole run.
        settings: which baseline.
        root: folder that a relative path starts from.
        accepted: those of the records whose test passed.

    Returns:
        What was saved, in words, empty where nothing was asked for; and whether that is a failure: nothing was saved.

    Raises:
        LlmperfError: the file cannot be written; the old one is intact.
    """
    name = settings.save or settings.update
    if not name:
        return "", False
    refused = sorted({record.test for record in records} - {record.test for record in accepted})
    words = f"; not saved, since they did not pass: {', '.join(refused)}" if refused else ""
    if empty := [record.test for record in accepted if not record.measurement.rounds]:
        words += f"; not saved, since the client could not keep up in any round: {', '.join(dict.fromkeys(empty))}"
        accepted = [record for record in accepted if record.measurement.rounds]
    if not accepted:
        words = f"saved nothing to baseline {name}: no test passed with a measurement{words}"
        return (
            f"{words}\n  next: run tests that measure and pass, or leave --llmperf-save and --llmperf-update out",
            True,
        )
    saved = [(lookup.key_of(record.test, record.measurement), _stored(record)) for record in accepted]
    count = f"{len(accepted)} measurement{'' if len(accepted) == 1 else 's'}"
    directory = root / settings.baselines_dir
    folder = place_of(directory / f"{name}.toml").parent
    before = [path for path in map(folder.joinpath, _TOLD) if is_there(path)]
    if settings.update:
        change = store.update(name, directory, saved)
        text = "\n".join((f"updated {count} in {change.path}{words}", *changes(change.before, change.after)))
        return text + _told(folder, before), False
    path = store.save(name, directory, saved)
    return f"saved {count} to {path}{words}{_told(folder, before)}", False


def _told(folder: Path, before: Sequence[Path]) -> str:
    """What a save has written for git besides the baseline, in words; empty where there is nothing."""
    written = [(folder / name, effect) for name, effect in _TOLD.items()]
    return "".join(
        f"\nwrote {path}: git {effect}; commit it, too"
        for path, effect in written
        if path not in before and is_there(path)
    )


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


def _inputs(settings: Settings, root: Path, others: Mapping[str, Path | None]) -> dict[str, Path]:
    """The files that a run reads, by the options that name them."""
    folder, named = root / settings.baselines_dir, {**others}
    named["--llmperf-config"] = Path(settings.config_file or root / "llmperf.toml")
    for field, option in (("gguf", "gguf"), ("faults", "faults"), ("ca_file", "ca"), ("ollama_bin", "ollama-bin")):
        named[f"--llmperf-{option}"] = Path(value) if (value := getattr(settings, field)) else None
    for field in ("baseline", "compare", "save", "update"):
        if name := getattr(settings, field):
            named[f"--llmperf-{field}"] = root / name if name.endswith(".toml") else folder / f"{name}.toml"
    return {option: path for option, path in named.items() if path is not None}


def _collide(place: Path, taken: Path) -> bool:
    """Whether two names are one file, also on disks that know no capitals, or one needs the other as its folder."""
    if place == taken or place in taken.parents or taken in place.parents:
        return True
    try:
        return place.stat().st_nlink == 1 and place.samefile(taken)
    except OSError:
        return False
