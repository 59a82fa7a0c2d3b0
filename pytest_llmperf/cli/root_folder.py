"""Which folder pytest takes as its root, where `llmperf.toml` and baselines are looked up."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pytest_llmperf.errors import UsageError


def check_root(folder: Path) -> None:
    """Check that pytest's root folder is this one, since llmperf.toml and baselines are looked up there.

    Raises:
        UsageError: a configuration in a folder above makes that the root.
    """
    configuration = _configuration(folder.resolve())
    if configuration is not None and configuration.parent != folder.resolve():
        above = os.path.relpath(configuration.parent, Path.cwd())
        raise UsageError(
            f"pytest's root folder is {above}, by {configuration.name} there, and llmperf.toml is looked up in it",
            next_step=f"pytest-llmperf init {above}; or give {folder} a pytest.ini of its own, and repeat the command",
        )


def _configuration(folder: Path) -> Path | None:
    """The file that decides pytest's root folder for this folder: as pytest looks for it; None: there is none."""
    folders = (folder, *folder.parents)
    for above in folders:
        for name, configures in _CONFIGURATIONS.items():
            if (above / name).is_file() and configures(above / name):
                return above / name
    projects = (above / name for name in ("pyproject.toml", "setup.py") for above in folders)
    return next((path for path in projects if path.is_file()), None)


def _in_pyproject(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return "pytest" in tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    return False


def _has(section: str) -> Callable[[Path], bool]:
    """Whether a file has a line with this section's name."""

    def has(path: Path) -> bool:
        with suppress(OSError):
            return section in path.read_text(encoding="utf-8", errors="replace").splitlines()
        return False

    return has


_CONFIGURATIONS: dict[str, Callable[[Path], bool]] = {
    **dict.fromkeys(("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"), lambda _: True),
    "pyproject.toml": _in_pyproject,
    "tox.ini": _has("[pytest]"),
    "setup.cfg": _has("[tool:pytest]"),
}
"""The files that pytest takes its configuration from, by precedence, and whether one of them has some."""
