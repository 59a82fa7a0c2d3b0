"""Asks programs of this machine, such as git or nvidia-smi, for what they print."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection
from pathlib import Path

_PATIENCE_S = 5.0

_REPOSITORY = frozenset(
    ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")
)
"""Variables that git sets for hooks; with them, git would always answer about the hook's repository."""


def output_of(*command: str, without: Collection[str] = ()) -> str | None:
    """What a program prints, without white space at the end; None if it is missing, fails or hangs.

    Args:
        command: the program and its arguments.
        without: variables that it must not see.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE_S,
            check=False,
            env={name: value for name, value in os.environ.items() if name not in without},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip() if done.returncode == 0 else None


def git(folder: Path, *arguments: str) -> str | None:
    """What git says in a folder, of the repository that the folder is in; see `output_of`."""
    return output_of("git", "-C", str(folder), *arguments, without=_REPOSITORY)
