"""How git merges baselines: what is written beside a saved one, and where the repository is."""

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
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE_S,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and not done.stdout.rstrip().endswith(": unspecified")
