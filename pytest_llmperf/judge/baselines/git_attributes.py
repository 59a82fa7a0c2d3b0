"""How git handles the plugin's files: merging baselines, ignored files, and the repository's top folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pytest_llmperf.files.atomic_write import is_there, write_whole
from pytest_llmperf.programs import git

ATTRIBUTES = (
    "# Written by pytest-llmperf: if two branches both saved sessions, git keeps the lines of both.\n"
    "*.toml merge=union\n"
)
IGNORED = "# Written by pytest-llmperf: locks and half-written files."
TEMPORARY = (".*.lock", ".*.tmp")


def top_of(folder: Path) -> Path | None:
    """The top folder of the repository that a folder is in; None if it is in none."""
    folder = Path(os.path.realpath(folder))
    return next((above for above in (folder, *folder.parents) if (above / ".git").exists()), None)


def keep_both_sides(baseline: Path) -> Path | None:
    """Make git keep the sessions of both branches that it merges, unless it is configured already.

    Args:
        baseline: a file that was saved just now.

    Returns:
        The new `.gitattributes` beside it; None: there is one, there is no repository, or git is configured.
    """
    return _write_beside(baseline.with_name(".gitattributes"), ATTRIBUTES, lambda: _is_merged(baseline))


def keep_out(folder: Path, patterns: Sequence[str] = TEMPORARY) -> Path | None:
    """Make git ignore files that only a run needs, such as locks, unless it is configured already.

    A lock file is never removed: a process that waits for it would wait for a file that is gone.

    Args:
        folder: the folder with such files.
        patterns: patterns of their names.

    Returns:
        The `.gitignore` that was written there; None: there is one, there is no repository, or git is configured.
    """
    text = "".join(f"{line}\n" for line in (IGNORED, *patterns))
    return _write_beside(folder / ".gitignore", text, lambda: _are_ignored(folder, patterns))


def _write_beside(path: Path, text: str, is_told: Callable[[], bool]) -> Path | None:
    """Write the text to the file, unless it exists, is in no repository, or another file configures git."""
    if is_there(path) or top_of(path.parent) is None or is_told():
        return None
    with suppress(OSError):
        write_whole(path, text)
        return path
    return None


def _is_merged(baseline: Path) -> bool:
    """Whether an attribute of some folder above, or the user's own, says how to merge the file."""
    said = git(baseline.parent, "check-attr", "merge", "--", baseline.name) or ""
    return bool(said) and not said.endswith(": unspecified")


def _are_ignored(folder: Path, patterns: Sequence[str]) -> bool:
    """Whether git leaves out a file of each pattern."""
    names = [pattern.replace("*", "x") for pattern in patterns]
    return (git(folder, "check-ignore", "--", *names) or "").splitlines() == names
