"""The layout of baseline files: TOML tables to values and back, strictly, by the fields of `model.Baseline`.

Version 1 is those fields as they are, version 2 packs what grows (`judge.packing`). What is not packed is read in
version 2 as well: files written by hand need not know of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args, get_origin

import cattrs
import tomli_w
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from pytest_llmperf.judge.catalogue import CATALOGUE, Aggregate
from pytest_llmperf.judge.packing import numbers_as_literals, packed, unpacked
from pytest_llmperf.model import SCHEMA, Baseline, Bound

if TYPE_CHECKING:
    from pytest_llmperf.model import Stored, Threshold

LEVEL = "validation"
"""The level of thresholds that gates use."""

FAMILIES = {"contention_rate": "contention_rate_ttft", "cv_pct": "decode_tok_s_cv_pct"}
"""Threshold names that stand for a family of metrics, and one metric of it: for its unit and bound."""

UNGATED = frozenset(
    {
        "gpu_temperature_c",
        "instances_answering",
        "num_ctx",
        "num_gpu",
        "temperature",
        "vram_gib",
        "vram_headroom_gib",
    }
)
"""Names of figures that no gate measures yet, which a validation threshold may state for the reader."""


def structure(tables: Mapping[str, Any], name: str) -> tuple[tuple[str, ...], Baseline | None]:
    """Tables as a baseline, or what is wrong with them.

    Args:
        tables: as `tomllib` gives them.
        name: of the baseline.

    Returns:
        Faults, each naming its key, and the baseline, which is None when there is a fault.
    """
    if "name" in tables:
        return ("name: a baseline's name is its file's stem, the key does not belong",), None
    if tables["schema"] > 1:
        tables, faults = unpacked(tables)
        if faults:
            return faults, None
    try:
        baseline = _CONVERTER.structure({**tables, "name": name}, Baseline)
    except Exception as error:
        return tuple(_faults(error, "")), None
    faults = (
        *(fault for i, item in enumerate(baseline.threshold) for fault in _threshold_faults(i, item)),
        *(fault for i, item in enumerate(baseline.stored) for fault in _stored_faults(i, item)),
    )
    return faults, None if faults else baseline


def as_text(baseline: Baseline) -> str:
    """A baseline as the TOML of a file, in the newest layout: without its name and what has its default value."""
    tables: dict[str, Any] = _CONVERTER.unstructure(dataclasses.replace(baseline, schema=SCHEMA))
    del tables["name"]
    return numbers_as_literals(tomli_w.dumps(packed(tables)))


def _threshold_faults(index: int, threshold: Threshold) -> list[str]:
    """What a validation threshold gets wrong: gates would take it at its word."""
    where, metric = f"threshold[{index}]", threshold.metric
    if threshold.level != LEVEL or metric in UNGATED:
        return []
    line = CATALOGUE.get(FAMILIES.get(metric, metric))
    if line is None:
        known = (*FAMILIES, *CATALOGUE, *sorted(UNGATED))
        return [f"{where}.metric: unknown metric {metric!r}, wanted one of {', '.join(known)}"]
    faults = []
    if threshold.unit != line.unit:
        faults.append(f"{where}.unit: {threshold.unit!r}, wanted {line.unit!r} for {metric}")
    if threshold.bound is not line.good:
        faults.append(f"{where}.bound: {threshold.bound.value!r}, wanted {line.good.value!r} for {metric}")
    if threshold.value < 0 or (line.aggregate is Aggregate.RATE and threshold.value > 1):
        faults.append(f"{where}.value: {threshold.value:g} is out of range for {metric} in {line.unit}")
    return faults


def _stored_faults(index: int, stored: Stored) -> list[str]:
    """What a stored measurement gets wrong."""
    if not stored.session:
        return [f"stored[{index}].session: empty, wanted at least one session"]
    faults = []
    for number, session in enumerate(stored.session):
        where = f"stored[{index}].session[{number}].rounds"
        faults += [f"{where}.{metric}: unknown metric" for metric in session.rounds if metric not in CATALOGUE]
        lengths = sorted({len(values) for values in session.rounds.values()})
        if len(lengths) != 1 or lengths[0] == 0:
            faults.append(f"{where}: metrics have {lengths} values, wanted the same number for each, one a round")
    return faults


# --- cattrs: strict, because it would else turn numbers into text, text into numbers and text into lists -------------

_Hook = Callable[[Any, Any], Any]
_Numbers = tuple[float, ...]


def _converter() -> cattrs.Converter:
    """A converter of the model's dataclasses that coerces nothing but whole numbers to floats."""
    converter = cattrs.Converter(forbid_extra_keys=True, omit_if_default=True)
    converter.register_structure_hook(str, lambda value, _: _exactly(str, value, "text"))
    converter.register_structure_hook(int, lambda value, _: _exactly(int, value, "a whole number"))
    converter.register_structure_hook(float, lambda value, _: _number(value))
    converter.register_structure_hook(Bound, lambda value, _: _bound(value))

    def list_hook(kind: Any) -> _Hook:
        def hook(value: Any, _: Any) -> tuple[Any, ...]:
            items = _exactly(list, value, "a list")
            return tuple(_each_item(converter, kind, get_args(kind)[0], enumerate(items)).values())

        return hook

    def mapping_hook(kind: Any) -> _Hook:
        def hook(value: Any, _: Any) -> dict[str, Any]:
            table = _exactly(dict, value, "a table")
            if get_args(kind)[1] is str and set(map(type, table.values())) <= {str}:
                return dict(table)  # manifests, by the thousand: the good case takes no loop of ours
            return _each_item(converter, kind, get_args(kind)[1], table.items())

        return hook

    def table_hook(kind: Any) -> _Hook:
        fields = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

        def hook(value: Any, _: Any) -> Any:
            return fields(_exactly(dict, value, "a table"), kind)

        return hook

    converter.register_structure_hook_factory(lambda kind: _origin(kind) is tuple, list_hook)
    converter.register_structure_hook_factory(lambda kind: _origin(kind) is Mapping, mapping_hook)
    converter.register_structure_hook_factory(dataclasses.is_dataclass, table_hook)
    converter.register_structure_hook_func(lambda kind: kind == _Numbers, lambda value, _: _numbers(value))
    return converter


def _origin(kind: Any) -> Any:
    """`tuple` of `tuple[str, ...]`, and so on."""
    return get_origin(kind)


def _each_item(converter: cattrs.Converter, kind: Any, item_kind: Any, items: Any) -> dict[Any, Any]:
    """Items structured one by one, by their index or key; all faults collected."""
    found, errors = {}, []
    for key, item in items:
        try:
            found[key] = converter.structure(item, item_kind)
        except Exception as error:
            error.add_note(IterableValidationNote(f"at {key!r}", key, item_kind))
            errors.append(error)
    if errors:
        raise IterableValidationError("faults in a list or table", errors, kind)
    return found


def _exactly(kind: type, value: Any, words: str) -> Any:
    """The value, when it is of the type (a truth value is no number)."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"got {value!r}, wanted {words}")
    return value


def _number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"got {value!r}, wanted a number")
    if not math.isfinite(value):
        raise ValueError(f"got {value}, wanted a finite number")
    return float(value)


def _numbers(value: Any) -> tuple[float, ...]:
    """Finite numbers: a list, or a text of them; by the thousand, so the good case takes no loop of ours."""
    if isinstance(value, str):
        value = value.split()
        with suppress(ValueError):
            numbers = tuple(map(float, value))
            if all(map(math.isfinite, numbers)):
                return numbers
            value = list(numbers)
    elif not isinstance(value, list):
        raise TypeError(f"got {value!r}, wanted a list of numbers, or a text of them")
    elif set(map(type, value)) <= {int, float} and all(map(math.isfinite, value)):
        return tuple(map(float, value))
    return tuple(_each_item(_CONVERTER, _Numbers, float, enumerate(value)).values())


def _bound(value: Any) -> Bound:
    """A bound, by its word."""
    words = [bound.value for bound in Bound]
    if value not in words:
        raise ValueError(f"got {value!r}, wanted {' or '.join(map(repr, words))}")
    return Bound(value)


def _faults(error: BaseException, path: str) -> Iterator[str]:
    """What cattrs collected, one line a fault, each with the path of its key."""
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from _faults(inner, path + _step(inner))
    elif isinstance(error, ForbiddenExtraKeysError):
        known = ", ".join(field.name for field in dataclasses.fields(error.cl) if field.name != "name")
        for key in sorted(error.extra_fields):
            yield f"{_joined(path, key)}: unknown key, wanted one of {known}"
    elif isinstance(error, KeyError):
        yield f"{path.lstrip('.')}: missing"
    else:
        yield f"{path.lstrip('.')}: {error}"


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


_CONVERTER = _converter()
