"""The git repository around a folder: paths as it names them, and how it merges our baselines."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from pytest_llmperf.whole import is_there, write_whole

ATTRIBUTES = (
    "# Written by pytest-llmperf: of two branches that both saved sessions, git keeps the lines of both.\n"
    "*.toml merge=union\n"
)
_PATIENCE_S = 5.0


def top_of(folder: Path) -> Path | None:
    """The top folder of the repository that a folder is in; None where it is in none."""
    folder = Path(os.path.realpath(folder))
    return next((above for above in (folder, *folder.parents) if (above / ".git").exists()), None)


def within(path: Path) -> str:
    """A path as its repository names it, with `/`; as it is where it is in none."""
    path = Path(os.path.realpath(path))
    top = top_of(path.parent)
    return path.relative_to(top).as_posix() if top is not None else str(path)


def keep_both_sides(baseline: Path) -> Path | None:
    """Has git keep the sessions of both branches that it merges, where nobody has said what it should do.

    Args:
        baseline: a file that was saved just now.

    Returns:
        The `.gitattributes` that was written beside it; None: there is one, there is no repository, or git is told.
    """
    path = baseline.parent / ".gitattributes"
    if is_there(path) or top_of(baseline.parent) is None or _is_told(baseline):
        return None
    with suppress(OSError):
        write_whole(path, ATTRIBUTES)
        return path
    return None


def _is_told(baseline: Path) -> bool:
    """Whether an attribute of some folder above, or the user's own, says how to merge the file."""
    command = ["git", "-C", str(baseline.parent), "check-attr", "merge", "--", baseline.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and not done.stdout.rstrip().endswith(": unspecified")
