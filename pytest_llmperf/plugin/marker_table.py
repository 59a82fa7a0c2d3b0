"""The markers of the plugin: gates, and those that select or set something."""

from __future__ import annotations

from pytest_llmperf.judge.gate_kinds import GATE_KINDS

SELECTIONS = {
    "claims": "the report's six claims, checked on this machine (C1 to C6)",
    "predeploy": "the checklist before production (E.1, H.1)",
    "economics": "what measured deployments cost at stated prices (A.7 to A.9, G)",
    "single": "single inference over a matrix of options and models (TR108)",
    "workflow": "an agent's workflow over files, in three phases (TR109)",
    "sweep": "several agents at once, over a matrix of options (TR110, TR114)",
    "models": "several models, each with several agents at once (TR116)",
    "multiagent": "several agents at once (TR110, TR114)",
    "soak": "rounds for --llmperf-duration, watched for drift (H.2); skipped without it",
    "scale": "system throughput with 1, 2, 4, 8 agents, and the law of its growth",
    "topology": "one instance, one with two slots, two instances (TR113, TR114)",
}
"""Markers that select tests, and what these measure."""

RUNTIME_MARKER = "runtime"
PROFILE_MARKER = "profile"
SOAK = "soak"


def marker_lines() -> tuple[str, ...]:
    """The markers for `pytest --markers`."""
    return (
        *(kind.marker_line for kind in GATE_KINDS.values()),
        *(f"{name}: {text} [pytest-llmperf, selects only]" for name, text in SELECTIONS.items()),
        f"{RUNTIME_MARKER}(name=None): the clients' runtime for this test, instead of --llmperf-runtime (TR115) "
        "[pytest-llmperf]",
        f"{PROFILE_MARKER}(name): generation options of llmperf.toml or of the report, by deployment mode (8.5, C6) "
        "[pytest-llmperf]",
    )
