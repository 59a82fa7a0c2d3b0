"""Turns tables into frozen dataclasses: coerces nothing except whole numbers to floats, and names every fault.

By default, cattrs turns numbers into text, text into numbers and text into lists.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args, get_origin

import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from pytest_llmperf.errors import did_you_mean

_Hook = Callable[[Any, Any], Any]


def strict_converter() -> cattrs.Converter:
    """A converter for dataclasses whose only coercion is from integers to floats."""
    converter = cattrs.Converter(forbid_extra_keys=True, omit_if_default=True)
    converter.register_structure_hook(str, lambda value, _: exactly(str, value, "text"))
    converter.register_structure_hook(int, lambda value, _: exactly(int, value, "a whole number"))
    converter.register_structure_hook(float, lambda value, _: _number(value))
    converter.register_structure_hook(bool, lambda value, _: _truth(value))
    converter.register_structure_hook_func(
        lambda kind: kind == (bool | str | None), lambda value, _: _truth_or_text(value)
    )

    converter.register_structure_hook_func(
        lambda kind: kind == (float | tuple[float, ...]), lambda value, _: _number_or_numbers(value)
    )

    def list_hook(kind: Any) -> _Hook:
        def hook(value: Any, _: Any) -> tuple[Any, ...]:
            items = exactly(list, value, "a list")
            return tuple(each_item(converter, kind, get_args(kind)[0], enumerate(items)).values())

        return hook

    def mapping_hook(kind: Any) -> _Hook:
        def hook(value: Any, _: Any) -> dict[str, Any]:
            table = exactly(dict, value, "a table")
            if get_args(kind)[1] is str and set(map(type, table.values())) <= {str}:
                return dict(table)  # manifests, by the thousand: valid tables need no loop
            return each_item(converter, kind, get_args(kind)[1], table.items())

        return hook

    def table_hook(kind: Any) -> _Hook:
        fields = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

        def hook(value: Any, _: Any) -> Any:
            return fields(exactly(dict, value, "a table"), kind)

        return hook

    converter.register_structure_hook_factory(lambda kind: _origin(kind) is tuple, list_hook)
    converter.register_structure_hook_factory(lambda kind: _origin(kind) is Mapping, mapping_hook)
    converter.register_structure_hook_factory(dataclasses.is_dataclass, table_hook)
    return converter


def faults_of(error: BaseException, path: str = "") -> Iterator[str]:
    """The faults that cattrs has collected, one line each, with the path of the key."""
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from faults_of(inner, path + _step(inner))
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in dataclasses.fields(error.cl) if field.name != "name"]
        for key in sorted(error.extra_fields):
            yield f"{_joined(path, key)}: unknown key, wanted one of {', '.join(known)}{did_you_mean(key, known)}"
    elif isinstance(error, KeyError):
        yield f"{path.lstrip('.')}: missing"
    else:
        yield f"{path.lstrip('.')}: {error}"


def each_item(converter: cattrs.Converter, kind: Any, item_kind: Any, items: Any) -> dict[Any, Any]:
    """The structured items by index or key; collects all faults."""
    values, errors = {}, []
    for key, item in items:
        try:
            values[key] = converter.structure(item, item_kind)
        except Exception as error:
            error.add_note(IterableValidationNote(f"at {key!r}", key, item_kind))
            errors.append(error)
    if errors:
        raise IterableValidationError("faults in a list or table", errors, kind)
    return values


def exactly(kind: type, value: Any, words: str) -> Any:
    """The value if it has the type; a truth value is not a number."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"got {got(value)}, wanted {words}")
    return value


def got(value: Any) -> str:
    """A value of the wrong type, for an error: texts (they may be secrets), tables and lists are not repeated."""
    kinds = {str: "a text", dict: "a table", list: "a list"}
    return next((words for kind, words in kinds.items() if isinstance(value, kind)), repr(value))


def _number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"got {got(value)}, wanted a number")
    if not math.isfinite(value):
        raise ValueError(f"got {value}, wanted a finite number")
    return float(value)


def _truth_or_text(value: Any) -> bool | str | None:
    """True, false or a text, as it is."""
    if not isinstance(value, bool | str | None):
        raise TypeError(f"got {value!r}, wanted true, false or a text")
    return value


def _number_or_numbers(value: Any) -> float | tuple[float, ...]:
    """A finite number, or a list of them."""
    if isinstance(value, list):
        return tuple(map(_number, value))
    try:
        return _number(value)
    except TypeError:
        raise TypeError(f"got {got(value)}, wanted a number or a list of numbers") from None


def _truth(value: Any) -> bool:
    """True or false; numbers and strings are refused."""
    if not isinstance(value, bool):
        raise TypeError(f"got {got(value)}, wanted true or false")
    return value


def _origin(kind: Any) -> Any:
    """`tuple` of `tuple[str, ...]`, and so on."""
    return get_origin(kind)


def _step(error: BaseException) -> str:
    """Where an error happened, below its parent: `.field` or `[index]`."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f".{note.name}"
        if isinstance(note, IterableValidationNote):
            return f"[{note.index}]" if isinstance(note.index, int) else f".{note.index}"
    return ""


def _joined(path: str, key: str) -> str:
    """The path of a key of the table at a path."""
    return f"{path}.{key}".lstrip(".")
