"""Baseline files: found by name, read strictly, written atomically.

A file holds the fields of `model.Baseline` as TOML (its name is its stem). Unknown keys, wrong types, figures that
are no numbers and other schema versions are errors that name file and key. How they are written: `judge.writing`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmperf.errors import BaselineError, UsageError, did_you_mean
from pytest_llmperf.files.atomic_write import advice, conflict_lines, is_there, place_of, probe, read_text
from pytest_llmperf.judge.baselines.edits import with_replaced, with_sessions
from pytest_llmperf.judge.baselines.git_attributes import keep_both_sides, keep_out
from pytest_llmperf.judge.baselines.locked_write import rewrite
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.baselines.mergeable_format import tables_in
from pytest_llmperf.judge.baselines.packaged_baselines import builtin_dir, builtin_names, to_save
from pytest_llmperf.judge.baselines.toml_format import as_text, structure
from pytest_llmperf.model import SCHEMA, Agent, Baseline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llmperf.judge.baselines.edits import Saved
    from pytest_llmperf.model import Measurement, Scenario

_HEADER = "# Written by pytest-llmperf; comments are not kept when a session is added.\n"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class Change(NamedTuple):
    """A file that was changed: its path, what it held before, what it holds now."""

    path: Path
    before: Baseline
    after: Baseline


def load(path: Path) -> Baseline:
    """Read a baseline file.

    Args:
        path: of the TOML file; its stem becomes the baseline's name.

    Raises:
        BaselineError: missing or unreadable, torn, of another schema, or with a key or value that does not belong;
            the text names file, key and what is wrong.
    """
    return _parse(_read(path), path)


def load_named(name: str, dirs: Sequence[Path]) -> Baseline:
    """Find and read a baseline.

    Args:
        name: a path that ends in `.toml`, or a name looked up in `dirs`, then among the baselines that come with us.
        dirs: folders of the user's baselines, first match wins; missing folders are passed over.

    Raises:
        BaselineError: there is none of that name (the text lists those that exist), or it cannot be read.
    """
    if name.endswith(".toml"):
        return load(Path(name))
    folders = (*dirs, builtin_dir())
    for folder in folders:
        path = folder / f"{name}.toml"
        if _NAME.fullmatch(name) and is_there(path):
            return load(path) if folder in dirs else _load_ours(path)
    exist = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    raise BaselineError(
        f"there is no baseline {name!r} in {', '.join(str(folder) for folder in folders)}; "
        f"there {'is' if len(exist) == 1 else 'are'} {', '.join(exist) or 'none'}{did_you_mean(name, exist)}",
        next_step=f"use one of these, a path ending in .toml, or save one: pytest --llmperf-save {name or 'NAME'}",
    )


@lru_cache
def _load_ours(path: Path) -> Baseline:
    """Read once: it comes with us and does not change."""
    return load(path)


def fingerprint(scenario: Scenario) -> str:
    """A short SHA-256 (16 hex digits) of what the agents do, in their order.

    Of our own agents that is name, prompts, options and, if it is set, `think`; of others name and command, or the
    callable's qualified name.
    """
    work = [
        [agent.name, list(agent.prompts), agent.options.as_request(), *([] if agent.think is None else [agent.think])]
        if isinstance(agent, Agent)
        else [agent.name, "external", agent.stored]
        for agent in scenario.agents
    ]
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:16]


def key_of(test: str, measurement: Measurement) -> Key:
    """What a measurement is stored under.

    Args:
        test: node id, or a script's own name for it.
        measurement: as it ran.
    """
    return Key(
        test=test,
        scenario=measurement.scenario.name,
        topology=str(measurement.topology.kind),
        workload=fingerprint(measurement.scenario),
    )


def save(name: str, directory: Path, saved: Sequence[Saved], *, description: str = "") -> Path:
    """Add a session to `NAME.toml`, making the file and its folder where there are none.

    Safe against others that save at the same time, and against dying or a full disk at any moment. In a repository, git
    is told how to merge it and to leave its lock out (`attributes`), unless somebody has said so.

    Args:
        name: letters, digits, `_`, `-` and `.`, without the suffix.
        directory: the user's folder of baselines.
        saved: sessions, each under its measurement's key, after those that are stored of it already. Their `rounds`
            are what `metrics.all_series` gives; those of one key are one session.
        description: of a new file.

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
    """Where a baseline of the user lies, links followed.

    Raises:
        UsageError: a name that is no file name.
    """
    if not _NAME.fullmatch(name) or name.endswith(".toml"):
        raise UsageError(
            f"{name!r} cannot name a baseline",
            next_step="use letters, digits, '_', '-' and '.', without .toml: --llmperf-save NAME",
        )
    return place_of(directory / f"{name}.toml")


def target_of(name: str, directory: Path) -> Path:
    """Where a run can be saved.

    Raises:
        UsageError: a name that is no file name, or that of a packaged baseline: a file of measurements without its
            thresholds would be found in its place. Not so in our own repository, whose folder is that of the packaged
            ones: there it is the file itself.
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
        path: of the file.
        change: from the old value to the new one.
        new: what to start from where there is no file; None: there must be one.

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
        done.append(Change(path=path, before=before, after=_parse(changed, path)))
        return _HEADER + changed

    rewrite(path, text)
    return done[0]


def check_editable(path: Path, *, must_exist: bool) -> None:
    """Whether a file can be changed, or made: before a measurement, which is too dear to lose.

    Raises:
        BaselineError: it cannot be read, holds comments that would be lost, its folder may not be written, or it does
            not exist and must.
    """
    if must_exist or is_there(path):
        _editable(path)
    try:
        folder = next(folder for folder in path.parents if folder.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise BaselineError(
                f"baseline {path} could not be saved: {folder} is no folder that may be written",
                next_step="check the permissions, or give another --llmperf-baselines-dir",
            )
        probe(path)
    except OSError as error:
        raise BaselineError(
            f"baseline {path} could not be saved: {error}",
            next_step=advice(error, "give another --llmperf-baselines-dir"),
        ) from error


_RESTORE = "restore the file from version control, or move it away and save anew with --llmperf-save"


def _read(path: Path) -> str:
    """A file's text."""
    try:
        return read_text(path)
    except FileNotFoundError as error:
        raise BaselineError(
            f"baseline file {path} does not exist",
            next_step=f"check name and folder, or save one: {to_save(path.stem)}",
        ) from error
    except OSError as error:
        raise BaselineError(
            f"baseline file {path} cannot be read: {error}",
            next_step="check the path, which must be that of a plain file",
        ) from error
    except UnicodeDecodeError as error:
        raise BaselineError(f"baseline file {path} is not UTF-8 text: {error}", next_step=_RESTORE) from error


def _parse(text: str, path: Path) -> Baseline:
    """A file's text as a baseline."""
    _check_merged(text, path)
    try:
        tables = tables_in(text)
    except ValueError as error:
        raise BaselineError(f"baseline file {path} is not TOML: {error}", next_step=_RESTORE) from error
    schema = tables.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int):
        got = "has no key schema" if schema is None else f"has schema = {schema!r}"
        raise BaselineError(f"baseline file {path} {got}, wanted schema = {SCHEMA}", next_step=_RESTORE)
    if schema > SCHEMA:
        raise BaselineError(
            f"baseline file {path} has schema {schema}, this release reads up to {SCHEMA}: written by a newer release",
            next_step="pip install --upgrade pytest-llmperf",
        )
    if schema < 1:
        raise BaselineError(f"baseline file {path} has schema {schema}, wanted 1 to {SCHEMA}", next_step=_RESTORE)
    faults, baseline = structure(tables, path.stem)
    if baseline is None:
        raise BaselineError(
            f"baseline file {path}:\n" + "\n".join(f"  {fault}" for fault in faults),
            next_step="correct the keys named above",
        )
    return baseline


def _check_merged(text: str, path: Path) -> None:
    """Raises BaselineError where git has left its marks."""
    if marks := conflict_lines(text):
        merges = re.search(r"^session\.[0-9a-f]+\.", text, re.MULTILINE) is not None
        raise BaselineError(
            f"baseline file {path} has git's marks of a conflict in lines {', '.join(map(str, marks))}",
            next_step="delete these lines and keep all others: the sessions of both sides are then there; "
            f"'*.toml merge=union' in {path.parent / '.gitattributes'} has git do that"
            if merges
            else f"keep one side, and save on it again: git checkout --ours {path}",
        )


def _editable(path: Path) -> Baseline:
    """A file's baseline, when nothing is lost by writing it anew."""
    text = _read(path)
    baseline = _parse(text, path)
    if any(line.lstrip().startswith("#") for line in text.splitlines() if line != _HEADER.strip()):
        raise BaselineError(
            f"baseline {path} is written by hand: changing it here would lose its comments",
            next_step="save under another name, or take the comments out",
        )
    return baseline


def _check_something(saved: Sequence[Saved], name: str) -> None:
    """A baseline with nothing behind it would be a gate that cannot fail."""
    if not saved:
        raise UsageError(f"nothing was measured: there is nothing to save in baseline {name}")
