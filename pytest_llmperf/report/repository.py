"""The git repository around a folder: paths as it names them, and how it merges our baselines."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
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


def inside(root: Path, environ: Mapping[str, str]) -> str:
    """Where a folder is in its repository, with `/`, empty for its top: CI systems name files so.

    Args:
        root: the folder.
        environ: of the process: where there is no `.git` (a copy in a container), the CI system names its own folder.
    """
    root = Path(os.path.realpath(root))
    named = [environ.get(name, "") for name in ("CI_PROJECT_DIR", "GITHUB_WORKSPACE")]
    gitlab, github = (Path(os.path.realpath(name)) if name else None for name in named)
    for top in (gitlab, top_of(root), github):
        if top is not None and root.is_relative_to(top):
            return "" if root == top else root.relative_to(top).as_posix()
    return ""


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
