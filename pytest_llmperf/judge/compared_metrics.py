"""The metrics that are compared unless others are named: agents that wait for each other have no balance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.judge.gate_kinds import COMPARED_METRICS, COMPARED_OF_GRAPHS

if TYPE_CHECKING:
    from pytest_llmperf.model import Scenario, Stored

_OF_STEPS = "graph_efficiency_pct"
"""Only graphs of our own agents have it."""


def compared_of(scenario: Scenario) -> tuple[str, ...]:
    """Those of a scenario."""
    of_graph = tuple(name for name in COMPARED_OF_GRAPHS if not (scenario.external and name == _OF_STEPS))
    return of_graph if scenario.graph else COMPARED_METRICS


def compared_in(entry: Stored) -> tuple[str, ...]:
    """Those of a stored measurement, by what its sessions have."""
    lacking = not entry.session or any(_OF_STEPS not in session.rounds for session in entry.session)
    return COMPARED_METRICS if lacking else COMPARED_OF_GRAPHS
