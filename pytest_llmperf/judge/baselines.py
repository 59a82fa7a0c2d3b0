"""Baseline files: found by name, read strictly, written atomically.

A file holds the fields of `model.Baseline` as TOML (its name is its stem). Unknown keys, wrong types, figures that
are no numbers and other schema versions are errors that name file and key. Sessions are added under a lock, to a
temporary file beside the old one that then takes its place: whatever happens, the old or the new file is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import tomli_w
from filelock import FileLock, Timeout

from pytest_llmperf.errors import BaselineError, UsageError
from pytest_llmperf.judge.layout import structure, unstructure
from pytest_llmperf.judge.stored import Key
from pytest_llmperf.model import SCHEMA, Agent, Baseline, Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.model import Measurement, Scenario, StoredSession

LOCK_TIMEOUT_S = 60.0
"""How long a saver waits for others; one save takes milliseconds."""

_HEADER = "# Written by pytest-llmperf; comments are not kept when a session is added.\n"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


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
        if _NAME.fullmatch(name) and path.is_file():
            return load(path)
    exist = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    raise BaselineError(
        f"there is no baseline {name!r} in {', '.join(str(folder) for folder in folders)}; "
        f"there {'is' if len(exist) == 1 else 'are'} {', '.join(exist) or 'none'}",
        next_step=f"use one of these, a path ending in .toml, or save one: pytest --llmperf-save {name or 'NAME'}",
    )


def builtin_dir() -> Path:
    """The folder of the baselines that come with us: in the installed package, else in the repository."""
    packaged = Path(__file__).parent / "packaged"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "baselines"


def fingerprint(scenario: Scenario) -> str:
    """A short SHA-256 (16 hex digits) of what the agents do, in their order.

    Of our own agents that is name, prompts and options; of others name and command, or the callable's qualified name.
    """
    work = [
        [agent.name, list(agent.prompts), agent.options.as_request()]
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


def save(name: str, directory: Path, sessions: Sequence[tuple[Key, StoredSession]], *, description: str = "") -> Path:
    """Add sessions to `NAME.toml`, making the file and its folder where there are none.

    Safe against others that save at the same time, and against dying or a full disk at any moment.

    Args:
        name: letters, digits, `_`, `-` and `.`, without the suffix.
        directory: the user's folder of baselines.
        sessions: to add, each under its measurement's key, after those that are stored of it already. Their `rounds`
            are what `metrics.all_series` gives.
        description: of a new file.

    Returns:
        The file's path.

    Raises:
        UsageError: a name that is no file name, or nothing to save.
        BaselineError: the existing file cannot be read or holds comments that would be lost; a session that could
            not be read back; another saver that does not finish; a disk that is full or may not be written.
    """
    if not _NAME.fullmatch(name) or name.endswith(".toml"):
        raise UsageError(
            f"{name!r} cannot name a baseline",
            next_step="use letters, digits, '_', '-' and '.', without .toml: --llmperf-save NAME",
        )
    if not sessions:
        raise UsageError(f"nothing was measured: there is nothing to save in baseline {name}")
    path = (directory / f"{name}.toml").resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / f".{name}.lock", timeout=LOCK_TIMEOUT_S):
            _replace(path, _with_sessions(path, sessions, description))
    except Timeout as error:
        raise BaselineError(
            f"baseline {path} is locked by another process for more than {LOCK_TIMEOUT_S:g} s",
            next_step="wait for the other run, then save again",
        ) from error
    except OSError as error:
        raise BaselineError(
            f"baseline {path} could not be saved: {error}; what was there before is unchanged",
            next_step="make room or check the permissions of the folder, then save again",
        ) from error
    return path


_RESTORE = "restore the file from version control, or move it away and save anew with --llmperf-save"


def _read(path: Path) -> str:
    """A file's text."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise BaselineError(f"baseline file {path} does not exist", next_step="check the path") from error
    except OSError as error:
        raise BaselineError(f"baseline file {path} cannot be read: {error}", next_step="check the path") from error
    except UnicodeDecodeError as error:
        raise BaselineError(f"baseline file {path} is not UTF-8 text: {error}", next_step=_RESTORE) from error


def _parse(text: str, path: Path) -> Baseline:
    """A file's text as a baseline."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BaselineError(f"baseline file {path} is not TOML: {error}", next_step=_RESTORE) from error
    schema = tables.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int):
        got = "has no key schema" if schema is None else f"has schema = {schema!r}"
        raise BaselineError(f"baseline file {path} {got}, wanted schema = {SCHEMA}", next_step=_RESTORE)
    if schema > SCHEMA:
        raise BaselineError(
            f"baseline file {path} has schema {schema}, this release reads {SCHEMA}: written by a newer release",
            next_step="pip install --upgrade pytest-llmperf",
        )
    if schema < SCHEMA:
        raise BaselineError(f"baseline file {path} has schema {schema}, wanted {SCHEMA}", next_step=_RESTORE)
    faults, baseline = structure(tables, path.stem)
    if baseline is None:
        raise BaselineError(
            f"baseline file {path}:\n" + "\n".join(f"  {fault}" for fault in faults),
            next_step="correct the keys named above",
        )
    return baseline


def _with_sessions(path: Path, sessions: Sequence[tuple[Key, StoredSession]], description: str) -> str:
    """The text of the file with sessions added, proven to be readable."""
    if path.exists():
        text = _read(path)
        baseline = _parse(text, path)
        if any(line.lstrip().startswith("#") for line in text.removeprefix(_HEADER).splitlines()):
            raise BaselineError(
                f"baseline {path} is written by hand: adding a session would lose its comments",
                next_step="save under another name, or take the comments out",
            )
    else:
        baseline = Baseline(schema=SCHEMA, name=path.stem, description=description)
    stored = {_key(entry): entry for entry in baseline.stored}
    for key, session in sessions:
        before = stored[key].session if key in stored else ()
        stored[key] = Stored(
            test=key.test,
            scenario=key.scenario,
            topology=key.topology,
            workload=key.workload,
            session=(*before, session),
        )
    text = _HEADER + tomli_w.dumps(unstructure(replace(baseline, stored=tuple(stored.values()))))
    _parse(text, path)
    return text


def _key(entry: Stored) -> Key:
    """What an entry is stored under."""
    return Key(test=entry.test, scenario=entry.scenario, topology=entry.topology, workload=entry.workload)


def _replace(path: Path, text: str) -> None:
    """Put a text in a file's place, whole or not at all; the lock is held."""
    for stale in path.parent.glob(f".{path.stem}.*.tmp"):
        # Of a saver that was killed: only the holder of the lock writes such files.
        stale.unlink(missing_ok=True)
    temporary = path.parent / f".{path.stem}.{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where folders can be opened (not on Windows)."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
