"""Baseline files are changed: sessions added or replaced, whole or not at all.

How files are written, safe against others that write: `judge.baselines.locked_write`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmperf.errors import BaselineError, UsageError
from pytest_llmperf.files.atomic_write import advice, is_there, place_of, probe
from pytest_llmperf.judge.baselines.baseline_files import NAME, builtin_dir, builtin_names, parse, read
from pytest_llmperf.judge.baselines.edits import with_replaced, with_sessions
from pytest_llmperf.judge.baselines.git_attributes import keep_both_sides, keep_out
from pytest_llmperf.judge.baselines.locked_write import rewrite
from pytest_llmperf.judge.baselines.toml_format import as_text
from pytest_llmperf.model import SCHEMA, Baseline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llmperf.judge.baselines.edits import Saved

_HEADER = "# Written by pytest-llmperf; comments are not kept when a session is added.\n"


class Change(NamedTuple):
    """A changed file: its path, its content before and after the change."""

    path: Path
    before: Baseline
    after: Baseline


def save(name: str, directory: Path, saved: Sequence[Saved], *, description: str = "") -> Path:
    """Add a session to `NAME.toml`, making the file and its folder if they do not exist.

    Safe against others that save at the same time, and against dying or a full disk at any moment. In a repository, git
    is configured to merge it and to ignore its lock (`git_attributes`), unless it is already.

    Args:
        name: letters, digits, `_`, `-` and `.`, without the suffix.
        directory: the user's folder of baselines.
        saved: sessions, each under its measurement's key, after those that are stored of it already. Their `rounds`
            are what `metrics.series.all_series` returns; entries of one key are one session.
        description: the description of a new file.

    Returns:
        The file's path.

    Raises:
        UsageError: a name that is no file name or that of a packaged baseline, or nothing to save.
        BaselineError: the existing file cannot be read or holds comments that would be lost; a session that could
            not be read back; another saver that does not finish; a disk that is full or may not be written.
    """
    path = target_of(name, directory)
    _check_something(saved, name)
    new = Baseline(schema=SCHEMA, name=path.stem, description=description)
    edit(path, lambda baseline: with_sessions(baseline, saved), new=new)
    keep_both_sides(path)
    keep_out(path.parent)
    return path


def update(name: str, directory: Path, saved: Sequence[Saved]) -> Change:
    """Put a session in place of all that `NAME.toml` has stored of the same tests, scenarios and topologies.

    For use after an accepted change: what was measured before it is no standard any more.

    Returns:
        What the file held before and holds now.

    Raises:
        UsageError: as `save`.
        BaselineError: as `save`; and there is no such file.
    """
    path = target_of(name, directory)
    _check_something(saved, name)
    change = edit(path, lambda baseline: with_replaced(baseline, saved))
    keep_both_sides(path)
    keep_out(path.parent)
    return change


def path_of(name: str, directory: Path) -> Path:
    """The path of a user's baseline, links followed.

    Raises:
        UsageError: a name that is no file name.
    """
    if not NAME.fullmatch(name) or name.endswith(".toml"):
        raise UsageError(
            f"{name!r} cannot name a baseline",
            next_step="use letters, digits, '_', '-' and '.', without .toml: --llmperf-save NAME",
        )
    return place_of(directory / f"{name}.toml")


def target_of(name: str, directory: Path) -> Path:
    """The path that a run can be saved to.

    Raises:
        UsageError: the name is not a file name, or it is the name of a packaged baseline, which the new file without
            its thresholds would hide. (In the plugin's own repository the folder is the packaged one: there the path is
            the packaged file.)
    """
    packaged = builtin_names()
    if name in packaged and place_of(directory) != place_of(builtin_dir()):
        raise UsageError(
            f"{name!r} names a baseline that comes with pytest-llmperf: one saved under it would hide its limits",
            next_step=f"save under a name other than {', '.join(packaged)}",
        )
    return path_of(name, directory)


def edit(path: Path, change: Callable[[Baseline], Baseline], *, new: Baseline | None = None) -> Change:
    """Change a baseline file, whole or not at all; it is written in the newest layout.

    Args:
        path: the path of the file.
        change: returns the new value for the old one.
        new: what to start from if there is no file; None: there must be one.

    Returns:
        What the file held before and holds now.

    Raises:
        BaselineError: the file cannot be read, holds comments that would be lost, or cannot be written; or what
            `change` raises, or made something that could not be read back.
    """
    done: list[Change] = []

    def text() -> str:
        before = new if new is not None and not is_there(path) else _editable(path)
        changed = as_text(change(before))
        done.append(Change(path=path, before=before, after=parse(changed, path)))
        return _HEADER + changed

    rewrite(path, text)
    return done[0]


def check_editable(path: Path, *, must_exist: bool) -> None:
    """Checks that a file can be changed or created, before a long measurement whose results would be lost otherwise.

    Raises:
        BaselineError: the file cannot be read, has comments that would be lost, its folder is not writable, or the file
            is missing although `must_exist` is set.
    """
    if must_exist or is_there(path):
        _editable(path)
    try:
        folder = next(folder for folder in path.parents if folder.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise BaselineError(
                f"baseline {path} could not be saved: {folder} is not a writable folder",
                next_step="check the permissions, or give another --llmperf-baselines-dir",
            )
        probe(path, durable=True)
    except OSError as error:
        raise BaselineError(
            f"baseline {path} could not be saved: {error}",
            next_step=advice(error, "give another --llmperf-baselines-dir"),
        ) from error


def _editable(path: Path) -> Baseline:
    """A file's baseline, when nothing is lost by writing it anew."""
    text = read(path)
    baseline = parse(text, path)
    if any(line.lstrip().startswith("#") for line in text.splitlines() if line != _HEADER.strip()):
        raise BaselineError(
            f"baseline {path} is written by hand: changing it here would lose its comments",
            next_step="save under another name, or remove the comments",
        )
    return baseline


def _check_something(saved: Sequence[Saved], name: str) -> None:
    """A baseline with nothing behind it would be a gate that cannot fail."""
    if not saved:
        raise UsageError(f"nothing was measured: there is nothing to save in baseline {name}")
