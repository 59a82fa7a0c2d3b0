"""Writes the JSON Schema of `--llmperf-json`: from the frozen values, their docstrings and the table of options."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import re
import types
import typing
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest_llmperf.report
from pytest_llmperf.judge.baselines.trend import Trend
from pytest_llmperf.judge.diagnosis.diagnose import Diagnosis
from pytest_llmperf.judge.evidence import Evidence
from pytest_llmperf.judge.metrics.graphs.critical_path import CriticalPath
from pytest_llmperf.judge.metrics.series import CATALOGUE
from pytest_llmperf.judge.metrics.time_breakdown import EfficiencyLoss
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import ExternalAgent, Outcome, Settings
from pytest_llmperf.plugin.options.option_table import OPTIONS
from pytest_llmperf.report.document import VERSION
from pytest_llmperf.report.external_figures import ExternalFigures
from pytest_llmperf.report.figures import SHOWN
from pytest_llmperf.report.session_outcomes import Tested

PATH = Path(pytest_llmperf.report.__file__).with_name("llmperf.schema.json")
"""The published file."""

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
}


def schema() -> dict[str, Any]:
    """The schema of a whole document, draft 2020-12."""
    definitions: dict[str, Any] = {}
    definitions["Record"] = _record(definitions)
    top = {
        "schema": {"const": VERSION, "description": "Version of this layout."},
        "plugin_version": _PLAIN[str],
        "written_at": {"type": "string", "description": "ISO 8601 with the time zone."},
        "settings": _reference(Settings, definitions),
        "root_in_repository": {
            "type": "string",
            "description": "The folder of the repository that files are relative to: pytest's root; empty: its top.",
        },
        "policy": _lines("What inconclusive gates do, in words."),
        "tests": {"type": "array", "items": _reference(Tested, definitions)},
        "records": {"type": "array", "items": {"$ref": "#/$defs/Record"}},
    }
    whole = _object("What `--llmperf-json` of pytest-llmperf writes: a session with every raw timing.", top)
    whole["required"].remove("root_in_repository")  # absent in files of older releases
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pytest-llmperf session",
        **whole,
        "$defs": dict(sorted(definitions.items())),
    }


def _record(definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a record, with what the document adds to it."""
    optional = {
        "location": _object(
            "Where the test is defined; absent if unknown.",
            {"file": _PLAIN[str], "line": {"type": "integer", "description": "From 1."}},
        ),
        # absent if undefined: a single agent, or agents that never ran alone
        "loss": _reference(EfficiencyLoss, definitions),
        # absent but of graphs and of external agents
        "critical_path": _reference(CriticalPath, definitions),
        # absent without external agents
        "external_agents": {"type": "array", "items": _reference(ExternalFigures, definitions)},
        "diagnosis": _reference(Diagnosis, definitions),  # absent if the loss is negligible and no cause is known
        "history": _object(
            "The sessions of the baseline that this run was compared with or saved to, before it; absent: none.",
            {
                "baseline": _PLAIN[str],
                "trends": {"type": "array", "items": _reference(Trend, definitions)},
                "said": _lines("The changes, in words."),
            },
        ),
    }
    required = {
        "passed": {"type": "boolean", "description": "Whether the test passed, with all its phases and gates."},
        "evidence": _reference(Evidence, definitions),
        **_figures(),
        "notes": _lines("Notes on the measurement."),
        "remarks": {
            "type": "array",
            "items": _object(
                "A remark besides verdicts: on a soak, an incumbent or an incident.",
                {"level": {"enum": ["fail", "warn", "note"]}, "text": _PLAIN[str]},
            ),
        },
        "judged": {"type": "array", "items": _judged(definitions)},
    }
    record = _dataclass(Record, definitions)
    record["properties"] |= optional | required
    record["required"] += list(required)
    return record


def _figures() -> dict[str, Any]:
    return {
        "figures": {
            "description": "The figures of every report: an aggregate over rounds (mean, median or maximum, as "
            "the metric says) rounded to 4 decimals, counts, and an outcome for each `verdict.GATE.METRIC`.",
            "type": "object",
            "properties": {name: _metric(name) for name in SHOWN},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
        "series": {
            "description": "For each defined metric a value per round, in the metric's unit.",
            "type": "object",
            "additionalProperties": {"type": "array", "items": _PLAIN[float]},
        },
    }


def _judged(definitions: dict[str, Any]) -> dict[str, Any]:
    return _object(
        "A verdict in words, in the order of `verdicts`; `action` is its effect on the test.",
        {
            "gate": _PLAIN[str],
            "metric": _PLAIN[str],
            "outcome": _type(Outcome, definitions),
            "action": {"enum": ["pass", "fail", "warn", "skip"]},
            "limit": _PLAIN[str],
            "text": _PLAIN[str],
        },
    )


def _lines(description: str) -> dict[str, Any]:
    return {"type": "array", "items": _PLAIN[str], "description": description}


def text() -> str:
    """The text of the published file."""
    return json.dumps(schema(), indent=1) + "\n"


def _object(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _metric(name: str) -> dict[str, Any]:
    metric = CATALOGUE[name]
    return {"type": "number", "description": f"{metric.unit}; {metric.aggregate} over rounds; {metric.definition}"}


def _reference(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to a dataclass, whose definition is added."""
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # values may contain values of the same class
        definitions[kind.__name__] = _dataclass(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _dataclass(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a dataclass; descriptions come from the `Attributes` of its docstring."""
    hints, described = typing.get_type_hints(kind), _attributes(kind)
    if kind is Settings:
        described |= {option.field: option.help_text for option in OPTIONS}
    properties = {}
    for field in dataclasses.fields(kind):
        if not field.metadata.get("stored", True):
            continue
        # What an external agent runs is stored as a command or a callable's name.
        hint = tuple[str, ...] | str if (kind, field.name) == (ExternalAgent, "run") else hints[field.name]
        schema_ = _type(hint, definitions)
        properties[field.name] = (
            {**schema_, "description": described[field.name]} if field.name in described else schema_
        )
    return _object((inspect.getdoc(kind) or "").partition("\n")[0], properties)


def _type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type annotation."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    if dataclasses.is_dataclass(hint):
        return _reference(typing.cast("type", hint), definitions)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"enum": [member.value for member in hint]}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_type(argument, definitions) for argument in arguments]}
    if origin in (tuple, collections.abc.Sequence):
        return {"type": "array", "items": _type(arguments[0], definitions)}
    if origin in (dict, collections.abc.Mapping):
        return {"type": "object", "additionalProperties": _type(arguments[1], definitions)}
    raise TypeError(f"no JSON Schema for {hint}: add it here")


def _attributes(kind: type) -> dict[str, str]:
    """The `Attributes` of a docstring, by name; `a, b: text` describes both."""
    block = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")[2].partition("\n\n")[0]
    descriptions: dict[str, str] = {}
    for names, description in re.findall(r"^    (\w[\w, ]*): (.*(?:\n     +.*)*)", block, re.MULTILINE):
        descriptions |= dict.fromkeys(names.split(", "), " ".join(description.split()))
    return descriptions


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
