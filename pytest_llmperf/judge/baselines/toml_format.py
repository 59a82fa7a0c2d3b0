"""The layout of baseline files: TOML tables to values and back, strictly, by the fields of `model.Baseline`.

Version 1 is those fields as they are, version 2 packs what grows (`judge.packing`), version 3 writes it in lines that
git merges (`judge.merging`). What is not packed is read in all of them: files written by hand need not know of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import tomli_w

from pytest_llmperf.files.toml_values import each_item, faults_of, strict_converter
from pytest_llmperf.judge.baselines.compact_format import numbers_as_literals
from pytest_llmperf.judge.baselines.mergeable_format import grouped, lines_of, named
from pytest_llmperf.judge.metrics.catalogue import CATALOGUE
from pytest_llmperf.judge.metrics.time_breakdown import STORED_PARTS
from pytest_llmperf.judge.stats.summary import Aggregate
from pytest_llmperf.model import SCHEMA, Baseline, Bound

if TYPE_CHECKING:
    from pytest_llmperf.model import Stored, Threshold

LEVEL = "validation"
"""The level of thresholds that gates use."""

WARNING, CRITICAL = "warning", "critical"
"""Levels of monitoring (H.2)."""

FAMILIES = {"contention_rate": "contention_rate_ttft", "cv_pct": "decode_tok_s_cv_pct"}
"""Threshold names that stand for a family of metrics, and one metric of it: for its unit and bound."""

UNGATED = frozenset(
    {
        "instances_answering",
        "num_ctx",
        "num_gpu",
        "temperature",
        "vram_headroom_gib",
    }
)
"""Names of figures that no gate measures yet, which a validation threshold may state for the reader."""


def structure(tables: Mapping[str, Any], name: str) -> tuple[tuple[str, ...], Baseline | None]:
    """Tables as a baseline, or what is wrong with them.

    Args:
        tables: the tables as `tomllib` returns them.
        name: the name of the baseline.

    Returns:
        Faults, each naming its key, and the baseline, which is None when there is a fault.
    """
    if "name" in tables:
        return ("name: a baseline's name is its file's stem, the key does not belong",), None
    names: tuple[tuple[str, ...], ...] = ()
    if tables["schema"] > 1:
        tables, faults, names = grouped(tables)
        if faults:
            return faults, None
    try:
        baseline = _CONVERTER.structure({**tables, "name": name}, Baseline)
    except Exception as error:
        return tuple(named(fault, names) for fault in faults_of(error)), None
    faults = (
        *(fault for i, item in enumerate(baseline.threshold) for fault in _threshold_faults(i, item)),
        *(fault for i, item in enumerate(baseline.stored) for fault in _stored_faults(i, item)),
    )
    return tuple(named(fault, names) for fault in faults), None if faults else baseline


def as_text(baseline: Baseline) -> str:
    """A baseline as the TOML of a file, in the newest layout: without its name and what has its default value."""
    tables: dict[str, Any] = _CONVERTER.unstructure(dataclasses.replace(baseline, schema=SCHEMA))
    stored, _ = tables.pop("stored", ()), tables.pop("name")
    scalars = {key: value for key, value in tables.items() if isinstance(value, int | str)}
    parts = [tomli_w.dumps(scalars), lines_of(stored) if stored else ""]
    parts.append(tomli_w.dumps({key: value for key, value in tables.items() if key not in scalars}))
    return numbers_as_literals("\n".join(filter(None, parts)))


def _threshold_faults(index: int, threshold: Threshold) -> list[str]:
    """The faults of a validation threshold, which gates use without further checks."""
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
    if threshold.value < 0 or (line.aggregate in (Aggregate.RATE, Aggregate.REQUESTS) and threshold.value > 1):
        faults.append(f"{where}.value: {threshold.value:g} is out of range for {metric} in {line.unit}")
    return faults


def _stored_faults(index: int, stored: Stored) -> list[str]:
    """The faults of a stored measurement."""
    if not stored.session:
        return [f"stored[{index}].session: empty, wanted at least one session"]
    faults = []
    for number, session in enumerate(stored.session):
        faults += _parts_faults(f"stored[{index}].session[{number}].parts", session.parts)
        where = f"stored[{index}].session[{number}].rounds"
        faults += [f"{where}.{metric}: unknown metric" for metric in session.rounds if metric not in CATALOGUE]
        lengths = sorted({len(values) for values in session.rounds.values()})
        if len(lengths) != 1 or lengths[0] == 0:
            faults.append(f"{where}: metrics have {lengths} values, wanted the same number for each, one a round")
    return faults


def _parts_faults(where: str, parts: Mapping[str, tuple[float, ...]]) -> list[str]:
    """The faults of stored parts: a missing part, or another number of values than agents alone and together."""
    lengths = sorted({len(values) for values in parts.values()})
    if not parts or (set(parts) == set(STORED_PARTS) and len(lengths) == 1 and lengths[0] and lengths[0] % 2 == 0):
        return []
    return [
        f"{where}: {', '.join(parts)} with {lengths} values, wanted {', '.join(STORED_PARTS)}, each with one value for "
        "each agent alone and one for each together"
    ]


_Numbers = tuple[float, ...]


def _numbers(value: Any) -> tuple[float, ...]:
    """Finite numbers: a list, or a text of them; there are thousands, so valid lists need no loop."""
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
    return tuple(each_item(_CONVERTER, _Numbers, float, enumerate(value)).values())


def _bound(value: Any) -> Bound:
    """A bound, by its word."""
    words = [bound.value for bound in Bound]
    if value not in words:
        raise ValueError(f"got {value!r}, wanted {' or '.join(map(repr, words))}")
    return Bound(value)


_CONVERTER = strict_converter()
_CONVERTER.register_structure_hook(Bound, lambda value, _: _bound(value))
_CONVERTER.register_structure_hook_func(lambda kind: kind == _Numbers, lambda value, _: _numbers(value))
