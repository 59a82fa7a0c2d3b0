"""Reads matrix files and checks them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import UsageError
from pytest_llmperf.files.atomic_write import read_text
from pytest_llmperf.files.toml_text import DEEPEST, is_deeper, tables_of
from pytest_llmperf.files.toml_values import faults_of, strict_converter
from pytest_llmperf.model import (
    CLIENT_RUNTIMES,
    SCENARIOS,
    SERIAL,
    Cell,
    GenerationOptions,
    Matrix,
    Mode,
    Script,
    TopologyKind,
    Value,
)
from pytest_llmperf.model.texts import text_fault
from pytest_llmperf.model.workload.generation_options import think_fault
from pytest_llmperf.study.matrices.matrix_cells import AGENTS, OPTIONS, PROMPT, THINK, named_axes

SCHEMA = 1

_WHOLE = tuple(field.name for field in fields(GenerationOptions) if str(field.type).startswith("int"))
_LEAST = {"num_ctx": 1, "num_predict": -2, "num_thread": 0, "num_gpu": -1, "temperature": 0, "top_k": -1, "top_p": 0}
"""The smallest value that Ollama accepts; negative ones have a special meaning, e.g. -1: as much as possible."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def load(path: Path, *, name: str = "", scenarios: Collection[str] = tuple(SCENARIOS)) -> Matrix:
    """Reads a matrix file.

    Args:
        path: the path of the TOML file.
        name: the name of the experiment; empty: the file's stem.
        scenarios: the names that it may give.

    Raises:
        UsageError: the file is missing, not TOML, or has invalid keys or values; lists every fault.
    """
    try:
        tables = tables_of(read_text(path))
    except OSError as error:
        raise UsageError(
            f"matrix {path} cannot be read: {error.strerror}", next_step="name a file relative to the test's file"
        ) from error
    except ValueError as error:
        raise UsageError(f"matrix {path} is not TOML: {error}", next_step="correct the file") from error
    return parse(tables, name=name or path.stem, where=str(path), scenarios=scenarios)


def parse(
    tables: Mapping[str, Any], *, name: str, where: str = "matrix", scenarios: Collection[str] = tuple(SCENARIOS)
) -> Matrix:
    """A matrix from TOML tables; raises as `load` does."""
    if is_deeper(dict(tables), DEEPEST):  # a file is checked when it is read
        raise UsageError(f"{where} is wrong: it is nested too deeply", next_step="docs/experiments.md has every key")
    faults = list(_unwritable(tables, ""))
    if tables.get("schema") != SCHEMA:
        faults.append(f"schema: got {tables.get('schema')!r}, wanted {SCHEMA}")
    if "name" in tables:
        faults.append("name: not a key, a matrix is named after its file")
    try:
        matrix = _CONVERTER.structure({"schema": SCHEMA, **tables, "name": name}, Matrix)
        faults += _faults(matrix, scenarios)
    except Exception as error:
        faults += faults_of(error)
    if faults:
        raise UsageError(
            "\n  ".join((f"{where} is wrong:", *faults)), next_step="correct it; docs/experiments.md has every key"
        )
    return matrix


def _unwritable(value: Any, path: str) -> Iterator[str]:
    """Faults for strings that cannot be sent or stored; possible in Python, not in TOML."""
    if isinstance(value, str) and (fault := text_fault(value)):
        yield f"{path}: {fault}"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _unwritable(str(key), f"{path}.{key!r}".lstrip("."))
            yield from _unwritable(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _unwritable(item, f"{path}[{number}]")


def _value(value: Any) -> Value:
    """A string, a finite number or a boolean, unchanged."""
    if not isinstance(value, str | int | float):
        raise TypeError(f"got {value!r}, wanted a string or a number")
    if not isinstance(value, str) and not math.isfinite(value):
        raise ValueError(f"got {value}, wanted a finite number")
    return value


_CONVERTER = strict_converter()
_CONVERTER.register_structure_hook_func(lambda kind: kind == Value, lambda value, _: _value(value))
_CONVERTER.register_structure_hook_func(
    lambda kind: kind == (float | None), lambda value, _: _CONVERTER.structure(value, float)
)


def _faults(matrix: Matrix, scenarios: Collection[str]) -> Iterator[str]:
    """Faults of a well-formed matrix."""
    if not _NAME.fullmatch(matrix.name):
        yield (
            f"name {matrix.name!r}: wanted letters, digits, '_', '-' and '.', because it names files; give another: "
            'run_matrix(..., name="NAME")'
        )
    if matrix.mode and matrix.mode not in tuple(Mode):
        yield f"mode: got {matrix.mode!r}, wanted one of {', '.join(Mode)}"
    if matrix.scenario and matrix.prompts:
        yield "scenario and prompts: wanted one of them"
    if matrix.agents < 1 or matrix.rounds < 0:
        yield "agents, rounds: wanted 1 or more agents, 0 or more rounds"
    if PROMPT in matrix.axes:
        yield f"axes.{PROMPT}: reserved, the key prompts creates this axis"
    yield from (f"axes.{axis}: empty, wanted at least one value" for axis, values in matrix.axes.items() if not values)
    yield from (f"axes.{axis}: a value is listed twice" for axis, values in matrix.axes.items() if _twice(values))
    for where, cell in _settings_of(matrix):
        yield from _wrong_values(where, cell, scenarios)
        count = cell.get(AGENTS, 1) if matrix.prompts else 1
        if type(count) is not int or count < 1:
            yield f"{where}{AGENTS}: got {count!r}, wanted a number of agents, 1 or more"
    axes = dict.fromkeys((*named_axes(matrix), *((PROMPT,) if len(matrix.prompts) > 1 else ())))
    for where, keys in _uses_of_axes(matrix):
        yield from (
            f"{where}: got {key!r}, wanted an axis: {', '.join(axes) or 'there are none'}"
            for key in keys
            if key not in axes
        )
    for index, played in enumerate(matrix.played):
        known = [field.name for field in fields(Script)]
        yield from (f"played[{index}].script.{key}: unknown" for key in played.script if key not in known)
        yield from _wrong_values("options.", played.options, scenarios)
        if set(played.script) <= set(known):
            try:
                Script(**played.script)  # type: ignore[arg-type]
            except ValueError as error:
                yield f"played[{index}].script: {error}"
    ids = [claim.id for claim in matrix.claim]
    yield from (f"claim {id_!r} is listed twice" for id_ in dict.fromkeys(ids) if ids.count(id_) > 1)


def _uses_of_axes(matrix: Matrix) -> Iterator[tuple[str, Iterable[str]]]:
    """Places that name axes, and the named axes."""
    for index, played in enumerate(matrix.played):
        yield f"played[{index}].when", played.when
    for claim in matrix.claim:
        if not claim.untestable:
            yield f"claim {claim.id!r}: of", claim.of
            yield f"claim {claim.id!r}: against", claim.against
            yield f"claim {claim.id!r}: over", (claim.over,) if claim.over else ()


def _twice(values: tuple[Value, ...]) -> bool:
    return len(set(values)) != len(values)


def _settings_of(matrix: Matrix) -> Iterator[tuple[str, Cell]]:
    """Every place that sets options, topologies and other known keys."""
    yield "", {"topology": matrix.topology, **({"scenario": matrix.scenario} if matrix.scenario else {})}
    yield "options.", matrix.options
    for axis, values in matrix.axes.items():
        for value in values:
            yield "axes.", {axis: value}
    for index, cell in enumerate(matrix.cell):
        yield f"cell[{index}].", cell


def _wrong_values(where: str, cell: Cell, scenarios: Collection[str]) -> Iterator[str]:
    choices = {"topology": tuple(TopologyKind), "scenario": tuple(scenarios), "runtime": (*CLIENT_RUNTIMES, SERIAL)}
    for key, value in cell.items():
        if key == THINK:
            yield from (f"{where}{fault}" for fault in filter(None, (think_fault(value),)))
            continue
        if where == "options." and key not in OPTIONS:
            yield f"{where}{key}: unknown option, wanted one of {', '.join((*OPTIONS, THINK))}"
        if isinstance(value, bool):
            yield f"{where}{key}: got {value!r}, wanted a string or a number"
            continue
        if key in choices and value not in choices[key]:
            yield f"{where}{key}: got {value!r}, wanted one of {', '.join(choices[key])}"
        if key in OPTIONS and isinstance(value, str):
            yield f"{where}{key}: got {value!r}, wanted a number"
        elif key in _WHOLE and not isinstance(value, int):
            yield f"{where}{key}: got {value!r}, wanted a whole number"
        elif key in _LEAST and float(value) < _LEAST[key]:
            yield f"{where}{key}: got {value!r}, wanted {_LEAST[key]} or more"
        if key == "model" and not isinstance(value, str):
            yield f"{where}{key}: got {value!r}, wanted a model's name"
