"""Takes secrets and chosen fields out of the bodies of requests, before they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.masking import MASK, known, masked, masked_words, names_secret
from pytest_llmperf.recordings.filler import filler_of_characters

_STRUCTURE = frozenset(("role", "type", "id", "name", "tool_call_id", "call_id", "object"))
"""Fields that say what the parts of a body are; within a chosen field they stay, so that a server can read it."""


class Redaction:
    """Redacts bodies.

    A field is named by its key, or by the last keys of its path with dots between: `content`, `metadata.user_id`. Lists
    on the path are passed over. A chosen text becomes as many characters of filler, so that it is about as much work
    for a server; a number becomes 0. A secret becomes `***`: what the environment's secrets are, what looks like one,
    and texts in fields whose names say that they hold one.

    Args:
        fields: the fields to redact.
        secrets: more texts to take out.
    """

    def __init__(self, fields: Sequence[str] = (), secrets: Sequence[str] = ()) -> None:
        self._fields = {field: tuple(field.split(".")) for field in fields}
        self._secrets = secrets
        self._unused = set(fields)
        self._names: set[str] = set()

    @property
    def used(self) -> tuple[str, ...]:
        """Fields that a body had."""
        return tuple(field for field in self._fields if field not in self._unused)

    @property
    def unused(self) -> tuple[str, ...]:
        """Fields that no body had."""
        return tuple(field for field in self._fields if field in self._unused)

    @property
    def names(self) -> tuple[str, ...]:
        """The keys that the bodies had."""
        return tuple(sorted(self._names))

    def of_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body without secrets and chosen fields."""
        return {name: self._member((), name, value) for name, value in body.items()}

    def of_text(self, text: str) -> str:
        """A text without secrets."""
        return masked(masked_words([text])[0], sorted({*self._secrets, *known()}, key=len, reverse=True))

    def _member(self, path: tuple[str, ...], name: str, value: Any) -> Any:
        path = (*path, name)
        self._names.add(name)
        chosen = [field for field, keys in self._fields.items() if path[-len(keys) :] == keys]
        if chosen:
            self._unused.difference_update(chosen)
            return _hidden(value)
        if isinstance(value, str) and value and names_secret(name):
            return MASK
        return self._value(path, value)

    def _value(self, path: tuple[str, ...], value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._member(path, name, inside) for name, inside in value.items()}
        if isinstance(value, list):
            return [self._value(path, inside) for inside in value]
        return self.of_text(value) if isinstance(value, str) else value


def _hidden(value: Any) -> Any:
    """A value of the same shape that says nothing."""
    if isinstance(value, dict):
        return {name: inside if name in _STRUCTURE else _hidden(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [_hidden(inside) for inside in value]
    if isinstance(value, str):
        return f"{MASK} {filler_of_characters(len(value) - len(MASK) - 1)}" if len(value) > len(MASK) + 1 else MASK
    if isinstance(value, bool):
        return False
    return 0 if isinstance(value, int | float) else value
