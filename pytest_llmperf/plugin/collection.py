"""Which tests use us, and whether what their markers say makes sense."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.errors import LlmperfError, one_of
from pytest_llmperf.judge.gate_kinds import GATE_KINDS
from pytest_llmperf.plugin.options.near_names import near_ours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.markers import Marker
    from pytest_llmperf.model import Settings

_SELECTIONS = {
    "claims": "the report's six claims, and what of them holds here (C1 to C6)",
    "predeploy": "the checklist before production (E.1, H.1)",
    "economics": "what measured figures cost at stated prices (seed 7, A.7 to A.9, G)",
    "single": "single inference over a matrix of options and models (TR108)",
    "workflow": "an agent's workflow over files, in three phases (TR109)",
    "sweep": "several agents at once, over a matrix of options (TR110, TR114)",
    "models": "several models, each with several agents at once (TR116)",
    "multiagent": "several agents at once (TR110, TR114)",
    "soak": "rounds for as long as --llmperf-duration says, watched (H.2); skipped without",
    "topology": "one instance, one with slots, two instances (TR113 against TR114)",
}
_RUNTIME = "runtime"
_PROFILE = "profile"
FIXTURES = frozenset(
    {
        "dual_ollama",
        "single_ollama",
        "single_parallel_ollama",
        "ollama_fleet",
        "ollama_warmup",
        "run_agents",
        "economics",
        "decide_claims",
        "write_record",
        "run_matrix",
        "llmperf",
        "llmperf_baseline",
        "llmperf_manifest",
    }
)

SOAK = "soak"

_STEP = "next: correct these markers, e.g. @pytest.mark.efficiency(min_pct=95); pytest --markers lists them"


def marker_lines() -> tuple[str, ...]:
    """Our markers for `pytest --markers`."""
    return (
        *(kind.marker_line for kind in GATE_KINDS.values()),
        *(f"{name}: {text} [llmperf selection]" for name, text in _SELECTIONS.items()),
        f"{_RUNTIME}(name=None): the clients' runtime for this test, before --llmperf-runtime (TR115) [llmperf]",
        f"{_PROFILE}(name): generation options of llmperf.toml or of the report, by deployment mode (8.5, C6) "
        "[llmperf]",
    )


def steps_last(faults: Sequence[str]) -> list[str]:
    """Faults, then next steps: the usual one if a fault has none of its own, and those of single tests, by test."""
    steps: dict[str, None] = {}
    lines = []
    for fault in faults:
        text, _, step = fault.partition("\n  next: ")
        lines.append(text)
        steps[f"next: {text.partition(': ')[0]}: {step}" if step else _STEP] = None
    return [*lines, *sorted(steps, key=lambda step: step != _STEP)]


def registered(config: pytest.Config) -> frozenset[str]:
    """The markers that somebody else has registered, or pytest itself."""
    others = set(config.getini("markers")) - set(marker_lines())
    return frozenset(re.split(r"[:(]", line, maxsplit=1)[0].strip() for line in others)


def mistyped(item: pytest.Item, others: frozenset[str]) -> list[str]:
    """Faults for the test's markers that nobody has registered and that are nearly one of ours.

    Such a marker would gate or select nothing, without a word.
    """
    names = dict.fromkeys(mark.name for mark in item.iter_markers())
    known = (*GATE_KINDS, *_SELECTIONS, _RUNTIME, _PROFILE)
    ours = {name: near for name in names if name not in others and (near := near_ours(name, known))}
    return [
        f"{item.nodeid}: unknown marker {name!r}; did you mean {near!r}? (if not, register {name!r} under `markers`)"
        for name, near in ours.items()
    ]


def uses_us(item: pytest.Item) -> bool:
    """Whether the test asks for one of our fixtures or carries one of our gates."""
    if not FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        return True
    return any(mark.name in GATE_KINDS for mark in item.iter_markers())


def specs(item: pytest.Item, faults: list[str]) -> tuple[Marker, ...]:
    """The test's gates as values; the closest marker of a name wins. Faults are added to the list."""
    from pytest_llmperf.judge.markers import build  # noqa: PLC0415 - only where a test uses us

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
            faults.append(f"{item.nodeid}: marker {mark.name} stands twice at {node.name}: write one, or two tests")
        holders.setdefault(mark.name, node)
        specs.setdefault(mark.name, spec)
    return tuple(spec for spec in specs.values() if spec is not None)


def runtime(item: pytest.Item, faults: list[str]) -> str:
    """The runtime that the test's closest marker names; empty where none does."""
    from pytest_llmperf.model import RUNTIMES  # noqa: PLC0415 - only where a test uses us

    mark = item.get_closest_marker(_RUNTIME)
    if mark is None or not (mark.args or mark.kwargs):
        return ""  # a bare marker only selects
    names = [*mark.args, *mark.kwargs.values()]
    if len(names) != 1 or set(mark.kwargs) - {"name"} or names[0] not in RUNTIMES:
        faults.append(f"{item.nodeid}: marker {_RUNTIME}({_given(mark)}): wanted {one_of(names[0], RUNTIMES)}")
        return ""
    return str(names[0])


def profile(item: pytest.Item, settings: Settings, faults: list[str]) -> str:
    """The profile that the test's closest marker names; empty where none does."""
    from pytest_llmperf.config import profile_of  # noqa: PLC0415 - only where a test uses us

    mark = item.get_closest_marker(_PROFILE)
    if mark is None:
        return ""
    if len(mark.args) != 1 or mark.kwargs or not isinstance(mark.args[0], str):
        faults.append(f"{item.nodeid}: marker {_PROFILE}({_given(mark)}): wanted the name of one profile")
        return ""
    try:
        profile_of(settings.configuration, mark.args[0])
    except LlmperfError as error:
        faults.append(f"{item.nodeid}: marker {_PROFILE}: {error}")
    return mark.args[0]


def _given(mark: pytest.Mark) -> str:
    """A marker's arguments as they were written."""
    return ", ".join([*map(repr, mark.args), *(f"{key}={value!r}" for key, value in mark.kwargs.items())])
