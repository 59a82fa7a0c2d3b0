"""Reads JSON from somebody else: everything that can be wrong with it is a ValueError."""

from __future__ import annotations

import json
from typing import Any

MOST_LEVELS = 100
"""Levels of arrays and objects; what is deeper can be read, but no longer be printed or copied."""


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or needs too much memory.
    """
    try:
        value = json.loads(text)
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"JSON with too many levels ({type(error).__name__})") from error
    if _brackets(text) > MOST_LEVELS and _levels_exceed(value):
        raise ValueError(f"JSON with more than {MOST_LEVELS} levels")
    return value


def parsed_object(text: str | bytes) -> dict[str, Any]:
    """The members of a JSON object.

    Raises:
        ValueError: see `parsed`; or it is something else than an object.
    """
    value = parsed(text)
    if not isinstance(value, dict):
        raise ValueError(f"wanted a JSON object, got {type(value).__name__}")
    return value


def _brackets(text: str | bytes) -> int:
    """How many open, those in texts included: quick to count, and no fewer than there are levels."""
    if isinstance(text, str):
        return text.count("[") + text.count("{")
    return text.count(b"[") + text.count(b"{")


def _levels_exceed(value: object) -> bool:
    """Whether it is nested more deeply than MOST_LEVELS; level by level, without recursion."""
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [child for part in level for child in _children(part)]
        if not level:
            return False
    return True


def _children(value: object) -> list[object]:
    """The arrays and objects right inside."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in inside if isinstance(child, dict | list)]
