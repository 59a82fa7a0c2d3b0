"""The metrics that are compared unless others are named: agents that wait for each other have no balance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.judge.gate_kinds import COMPARED_METRICS, COMPARED_OF_GRAPHS

if TYPE_CHECKING:
    from pytest_llmperf.model import Scenario, Stored, StoredSession

_OF_STEPS = "graph_efficiency_pct"
"""Only graphs of built-in agents have it."""


def compared_of(scenario: Scenario) -> tuple[str, ...]:
    """The compared metrics of a scenario."""
    of_graph = tuple(name for name in COMPARED_OF_GRAPHS if not (scenario.external and name == _OF_STEPS))
    return of_graph if scenario.graph else COMPARED_METRICS


def compared_in(entry: Stored) -> tuple[str, ...]:
    """The compared metrics of a stored measurement that its sessions have."""
    if not entry.session or not all(map(_is_of_graph, entry.session)):
        return COMPARED_METRICS
    has_steps = all(_OF_STEPS in session.rounds for session in entry.session)
    return tuple(name for name in COMPARED_OF_GRAPHS if has_steps or name != _OF_STEPS)


def _is_of_graph(session: StoredSession) -> bool:
    """Whether several agents have a makespan and no balance; of a single agent, `parts` has two values."""
    several = any(len(values) > len(("alone", "together")) for values in session.parts.values())
    return _OF_STEPS in session.rounds or (
        several and "makespan_s" in session.rounds and "efficiency_pct" not in session.rounds
    )
