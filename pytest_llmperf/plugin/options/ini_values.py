"""Values of the ini file, as pytest's formats write them: text, lines, lists, numbers, truth values, tables."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_llmperf.plugin.options import parsers

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_NUMBER = (int, float)
_TYPES: dict[Callable[[str], Any], tuple[type, ...]] = {
    parsers.switch: (bool,),
    parsers.count: (int,),
    parsers.rounds: (int,),
    parsers.agents: (int,),
    parsers.seconds: _NUMBER,
    parsers.seconds_or_off: (*_NUMBER, bool),
    parsers.duration: _NUMBER,
    parsers.ports: (int, list),
    parsers.gpus: (int, list),
    parsers.urls: (list,),
    parsers.auth: (list,),
    parsers.against: (list,),
    parsers.limits: (dict, list),
    parsers.script: (dict, list),
}
"""By parser, the types that a value may have besides text."""

_MANY = tuple(parse for parse, types in _TYPES.items() if list in types or dict in types)
"""Parsers of several values: in an ini file, each may have a line of its own."""

_WORDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (float, "a number"),
    (int, "a whole number"),
    (list, "a list"),
    (dict, "a table"),
)

_COMMENT = re.compile(r"\s[#;]")
"""What looks like a comment after a value; pytest's ini files have no comments there."""


def value_of(config: pytest.Config, name: str) -> object:
    """The value of an ini option as it is written; None if the file has none, or an empty one.

    `getini` alone would refuse every value of `[tool.pytest]` that is no text, and warn of a list.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = config.getini(name)
        except Exception:  # pytest's type of error for this changed from version to version
            given: Any = _given(config)[name]
            value = getattr(given, "value", given)
    return None if value is None or value in ("", [], {}) else value


def names_in(config: pytest.Config) -> tuple[str, ...]:
    """The names that the ini file gives values to, whoever knows them."""
    return tuple(_given(config))


def is_declared(config: pytest.Config, name: str) -> bool:
    """Whether pytest or some plugin declares an ini option of that name."""
    try:
        config.getini(name)
    except (KeyError, ValueError):
        return False
    return True


def _given(config: pytest.Config) -> Mapping[str, Any]:
    """What the ini file holds, by name, as each version of pytest keeps it."""
    if (given := getattr(config, "_inicfg", None)) is None:
        given = config.inicfg
    return given


def text_of(value: object, parse: Callable[[str], Any]) -> str:
    """The value of the ini file as text for the option's parser.

    Raises:
        ValueError: the option takes no value of that type.
    """
    if isinstance(value, str):
        if dict in _TYPES.get(parse, ()) and (table := _table_in(value)) is not None:
            return text_of(table, parse)
        return ",".join(_lines(value)) if parse in _MANY else value
    allowed = _TYPES.get(parse, ())
    if (isinstance(value, bool) and bool not in allowed) or not isinstance(value, allowed):
        raise ValueError(f"got {_type_of(value)}, wanted {_wanted(allowed)}")
    if isinstance(value, list):
        return ",".join(_item(item) for item in value)
    if isinstance(value, dict):
        return ",".join(f"{key}={_item(item)}" for key, item in value.items())
    return _scalar(value)


def comment_hint(value: object, file: Path | None) -> str:
    """The next step for a refused value that may have a comment after it; empty if it has none."""
    if not isinstance(value, str) or file is None or file.suffix == ".toml" or not _COMMENT.search(value):
        return ""
    return "\n    next: an ini file has no comments behind values: put the comment on a line of its own"


def _table_in(text: str) -> dict[object, object] | None:
    """The table, if a text is one as Python writes it: pytest makes such a text of a table in `ini_options`."""
    if not text.strip().startswith("{"):
        return None
    try:
        table = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return table if isinstance(table, dict) else None


def _item(value: object) -> str:
    """An entry of a list or table."""
    if isinstance(value, bool) or not isinstance(value, (str, *_NUMBER)):
        raise ValueError(f"got {_type_of(value)} inside of it, wanted text or a number")
    text = _scalar(value)
    if "," in text:
        raise ValueError("an entry contains a comma, wanted one entry per value")
    return text


def _scalar(value: object) -> str:
    """A single value."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _lines(text: str) -> list[str]:
    """The lines that are not empty, without a comma at their ends; a single line is unchanged."""
    if "\n" not in text.strip():
        return [text]
    return [stripped for line in text.split("\n") if (stripped := line.strip().rstrip(","))]


def _wanted(allowed: tuple[type, ...]) -> str:
    """The types in words."""
    kinds = [kind for kind in allowed if kind is not int or float not in allowed]
    words = [text for kind, text in _WORDS if kind in kinds]
    return " or ".join(words if kinds == [int] else [*words, "text"])


def _type_of(value: object) -> str:
    """The type in words; the value may be a secret."""
    return next((words for kind, words in _WORDS if isinstance(value, kind)), type(value).__name__)
