"""The blocks of code on a page of the docs."""

import re
from pathlib import Path


def blocks(page: Path, kind: str) -> list[str]:
    """The texts of the page's blocks of this kind, e.g. `python`."""
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def kinds(page: Path) -> set[str]:
    """The kinds of all its blocks."""
    return set(re.findall(r"^```(\w+)$", page.read_text("utf-8"), flags=re.MULTILINE))
