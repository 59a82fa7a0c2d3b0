"""Parses a TOML text into tables, or raises an error that says what is wrong."""

from __future__ import annotations

import tomllib
from typing import Any

from pytest_llmperf.files.atomic_write import conflict_lines

DEEPEST = 32
"""Maximum levels of tables and lists in a file; none needs ten."""


def tables_of(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ValueError: it is not TOML, or is nested too deeply.
    """
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        if marks := conflict_lines(text):
            numbers = ", ".join(map(str, marks))
            raise ValueError(f"lines {numbers} have git's conflict markers: merge the file") from None
        raise
    if is_deeper(tables, DEEPEST):  # dotted keys are read without recursion, but shown, copied and compared with it
        raise ValueError("it is nested too deeply")
    return tables


def is_deeper(value: Any, levels: int) -> bool:
    """Whether tables and lists are nested in more levels; works without recursion."""
    level = [value]
    for _ in range(levels):
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return False
    return True
