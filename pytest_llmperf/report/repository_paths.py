"""The path of pytest's root folder in its repository: CI systems name files relative to the repository's top."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pytest_llmperf.judge.baselines.git_attributes import top_of


def inside(root: Path, environ: Mapping[str, str]) -> str:
    """A folder's path in its repository, with `/`; empty for the top.

    Args:
        root: the folder.
        environ: the process's environment: without a `.git` (a copy in a container), the CI system's variables name
            the top folder.
    """
    root = Path(os.path.realpath(root))
    named = [environ.get(name, "") for name in ("CI_PROJECT_DIR", "GITHUB_WORKSPACE")]
    gitlab, github = (Path(os.path.realpath(name)) if name else None for name in named)
    for top in (gitlab, top_of(root), github):
        if top is not None and root.is_relative_to(top):
            return "" if root == top else root.relative_to(top).as_posix()
    return ""
