"""Cuts a release: the version in pyproject.toml, the section in CHANGELOG.md, and its text as notes."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

PLACEHOLDER = "/OWNER/"
"""Stands for the project's owner in pyproject.toml until a maintainer fills it in."""


def cut(root: Path, version: str, date: str) -> None:
    """Give the unreleased section its version and date, and the package its version.

    Args:
        root: of the checkout.
        version: such as `0.2.0`.
        date: such as `2026-12-01`.

    Raises:
        ValueError: the version is malformed or released, nothing is unreleased, or the placeholder is there.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"version {version!r}, wanted three numbers such as 0.2.0, without v")
    project, changelog = root / "pyproject.toml", root / "CHANGELOG.md"
    settings, text = project.read_text("utf-8"), changelog.read_text("utf-8")
    if PLACEHOLDER in settings:
        raise ValueError("pyproject.toml has the placeholder OWNER: replace it by the owner of the repository")
    unreleased = re.search(rf"^## \[(Unreleased|{re.escape(version)}\] - unreleased$).*$", text, re.MULTILINE)
    if unreleased is None:
        raise ValueError(f"CHANGELOG.md has no section [Unreleased] or [{version}] - unreleased")
    if re.search(rf"^## \[{re.escape(version)}\] - \d", text, re.MULTILINE):
        raise ValueError(f"CHANGELOG.md has a released section {version}")
    settings, count = re.subn(r'^version = ".*"$', f'version = "{version}"', settings, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"pyproject.toml has {count} lines that begin with version, wanted 1")
    heading = f"## [Unreleased]\n\n## [{version}] - {date}"
    changelog.write_text(text[: unreleased.start()] + heading + text[unreleased.end() :], "utf-8")
    project.write_text(settings, "utf-8")


def notes(root: Path, version: str) -> str:
    """The section of a version, without its heading.

    Raises:
        ValueError: there is none, or it is empty.
    """
    text = (root / "CHANGELOG.md").read_text("utf-8")
    section = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None or not section[1].strip():
        raise ValueError(f"CHANGELOG.md has no text for {version}")
    return f"{section[1].strip()}\n"


def main() -> int:
    """Runs `cut VERSION` or `notes VERSION`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("cut", "notes"))
    parser.add_argument("version")
    given = parser.parse_args()
    root = Path(__file__).parents[1]
    try:
        if given.step == "cut":
            cut(root, given.version, datetime.now(UTC).date().isoformat())
        else:
            print(notes(root, given.version), end="")
    except ValueError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
