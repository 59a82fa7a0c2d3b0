"""Baseline files are found by name and read strictly.

A file holds the fields of `model.Baseline` as TOML (its name is its stem). Unknown keys, wrong types, figures that
are no numbers and other schema versions are errors that name file and key.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import BaselineError, did_you_mean
from pytest_llmperf.files.atomic_write import conflict_lines, is_there, read_text
from pytest_llmperf.judge.baselines.mergeable_format import tables_in
from pytest_llmperf.judge.baselines.toml_format import structure
from pytest_llmperf.model import SCHEMA, Baseline

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
"""The name of a baseline of the user."""

_RESTORE = "restore the file from version control, or move it away and save anew with --llmperf-save"


def builtin_dir() -> Path:
    """The folder of the packaged baselines: in the installed package, else in the repository."""
    packaged = Path(__file__).parent / "packaged"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "baselines"


def builtin_names() -> tuple[str, ...]:
    """Names of the packaged baselines."""
    return tuple(sorted(path.stem for path in builtin_dir().glob("*.toml")))


def to_save(name: str) -> str:
    """The command that saves a session to a baseline; the name of a packaged baseline would be refused."""
    return f"pytest --llmperf-save {'NAME' if name in builtin_names() else name}"


def load(path: Path) -> Baseline:
    """Read a baseline file.

    Args:
        path: the path of the TOML file; its stem becomes the baseline's name.

    Raises:
        BaselineError: missing or unreadable, torn, of another schema, or with a key or value that does not belong;
            the text names file, key and what is wrong.
    """
    return parse(read(path), path)


def load_named(name: str, dirs: Sequence[Path]) -> Baseline:
    """Find and read a baseline.

    Args:
        name: a path that ends in `.toml`, or a name looked up in `dirs`, then among the packaged baselines.
        dirs: folders of the user's baselines, first match wins; missing folders are passed over.

    Raises:
        BaselineError: there is none of that name (the text lists those that exist), or it cannot be read.
    """
    if name.endswith(".toml"):
        return load(Path(name))
    folders = (*dirs, builtin_dir())
    for folder in folders:
        path = folder / f"{name}.toml"
        if NAME.fullmatch(name) and is_there(path):
            return load(path) if folder in dirs else _load_ours(path)
    exist = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    places = (f"in {', '.join(map(str, dirs))}" if dirs else "", "among the plugin's own")
    raise BaselineError(
        f"there is no baseline {name!r} {' or '.join(filter(None, places))}; "
        f"available: {', '.join(exist) or 'none'}{did_you_mean(name, exist)}",
        next_step=f"use one of these, a path ending in .toml, or save one: pytest --llmperf-save {name or 'NAME'}",
    )


@lru_cache
def _load_ours(path: Path) -> Baseline:
    """Read only once, because a packaged baseline does not change."""
    return load(path)


def read(path: Path) -> str:
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
            next_step="check the path, which must be a plain file",
        ) from error
    except UnicodeDecodeError as error:
        raise BaselineError(f"baseline file {path} is not UTF-8 text: {error}", next_step=_RESTORE) from error


def parse(text: str, path: Path) -> Baseline:
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
            f"baseline file {path} has git conflict markers in lines {', '.join(map(str, marks))}",
            next_step="delete these lines and keep all others, so that the sessions of both sides stay; "
            f"'*.toml merge=union' in {path.parent / '.gitattributes'} makes git do that"
            if merges
            else f"keep one side, then save again: git checkout --ours {path}",
        )
