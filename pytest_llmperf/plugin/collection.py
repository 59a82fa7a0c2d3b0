"""The requirements of a test's markers, and the checks of their values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.judge.gate_kinds import GATE_KINDS
from pytest_llmperf.plugin.marker_table import PROFILE_MARKER, RUNTIME_MARKER, SELECTIONS, marker_lines
from pytest_llmperf.plugin.options.near_names import near_ours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.markers import Marker
    from pytest_llmperf.model import Settings

_STEP = "next: correct these markers, e.g. @pytest.mark.efficiency(min_pct=95); pytest --markers lists them"


def steps_last(faults: Sequence[str]) -> list[str]:
    """The faults, then the next steps: first the general step, then the steps for single tests."""
    steps: dict[str, None] = {}
    lines = []
    for fault in faults:
        text, _, step = fault.partition("\n  next: ")
        lines.append(text)
        steps[f"next: {text.partition(': ')[0]}: {step}" if step else _STEP] = None
    return [*lines, *sorted(steps, key=lambda step: step != _STEP)]


def registered(config: pytest.Config) -> frozenset[str]:
    """The markers that pytest, the project or other plugins have registered."""
    others = set(config.getini("markers")) - set(marker_lines())
    return frozenset(re.split(r"[:(]", line, maxsplit=1)[0].strip() for line in others)


def mistyped(item: pytest.Item, others: frozenset[str]) -> list[str]:
    """Faults for unregistered markers of the test that are probably misspelled markers of the plugin.

    Such a marker would silently gate or select nothing.
    """
    names = dict.fromkeys(mark.name for mark in item.iter_markers())
    known = (*GATE_KINDS, *SELECTIONS, RUNTIME_MARKER, PROFILE_MARKER)
    ours = {name: near for name in names if name not in others and (near := near_ours(name, known))}
    return [
        f"{item.nodeid}: unknown marker {name!r}; did you mean {near!r}? (if not, register {name!r} under `markers`)"
        for name, near in ours.items()
    ]


def specs(item: pytest.Item, faults: list[str]) -> tuple[Marker, ...]:
    """The test's gates as values; the closest marker of a name wins. Faults are added to the list."""
    from pytest_llmperf.judge.markers import build

    specs: dict[str, Marker | None] = {}
    holders: dict[str, object] = {}
    for node, mark in item.iter_markers_with_node():
        if mark.name not in GATE_KINDS:
            continue
        try:
            spec = build(mark.name, mark.args, mark.kwargs)
        except (TypeError, ValueError) as error:
            faults.append(f"{item.nodeid}: marker {error}")
            spec = None
        if holders.get(mark.name) is node:
            faults.append(
                f"{item.nodeid}: marker {mark.name} is given twice at {node.name}: remove one, or write two tests"
            )
        holders.setdefault(mark.name, node)
        specs.setdefault(mark.name, spec)
    return tuple(spec for spec in specs.values() if spec is not None)


def runtime(item: pytest.Item, faults: list[str]) -> str:
    """The runtime that the test's closest marker names; empty if none does."""
    from pytest_llmperf.errors import one_of
    from pytest_llmperf.model import CLIENT_RUNTIMES

    mark = item.get_closest_marker(RUNTIME_MARKER)
    if mark is None or not (mark.args or mark.kwargs):
        return ""  # a bare marker only selects
    names = [*mark.args, *mark.kwargs.values()]
    if len(names) != 1 or set(mark.kwargs) - {"name"} or names[0] not in CLIENT_RUNTIMES:
        faults.append(
            f"{item.nodeid}: marker {RUNTIME_MARKER}({_given(mark)}): wanted {one_of(names[0], CLIENT_RUNTIMES)}"
        )
        return ""
    return str(names[0])


def profile(item: pytest.Item, settings: Settings, faults: list[str]) -> str:
    """The profile that the test's closest marker names; empty if none does."""
    from pytest_llmperf.config import profile_of
    from pytest_llmperf.errors import LlmperfError

    mark = item.get_closest_marker(PROFILE_MARKER)
    if mark is None:
        return ""
    if len(mark.args) != 1 or mark.kwargs or not isinstance(mark.args[0], str):
        faults.append(f"{item.nodeid}: marker {PROFILE_MARKER}({_given(mark)}): wanted the name of one profile")
        return ""
    try:
        profile_of(settings.configuration, mark.args[0])
    except LlmperfError as error:
        faults.append(f"{item.nodeid}: marker {PROFILE_MARKER}: {error}")
    return mark.args[0]


def _given(mark: pytest.Mark) -> str:
    """A marker's arguments as they were written."""
    return ", ".join([*map(repr, mark.args), *(f"{key}={value!r}" for key, value in mark.kwargs.items())])
