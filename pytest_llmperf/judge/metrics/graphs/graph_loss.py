"""The loss of a graph of agents: how much longer its critical path takes than the same requests alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.judge.metrics.graphs.critical_path import CriticalPath, PathPart, path_of
from pytest_llmperf.judge.metrics.time_breakdown import EfficiencyLoss

if TYPE_CHECKING:
    from pytest_llmperf.model import Measurement

_LEAST_SHARE = 0.1
"""Agents with less than this share of what a phase loses are not named."""


def graph_loss(measurement: Measurement) -> EfficiencyLoss | None:
    """The loss of a graph; None if it has no critical path, or agents that never ran alone."""
    path = path_of(measurement)
    if path is None or not all(round_.solo for round_ in measurement.rounds):
        return None
    phases = dict.fromkeys(part.phase for part in path.parts)
    shares_pp = {
        f"{phase} together": 100 * sum(more_ms(part) for part in path.parts if part.phase == phase) / path.makespan_ms
        for phase in phases
    }
    slower = slower_parts(path, max(phases, key=lambda phase: shares_pp[f"{phase} together"]))
    return EfficiencyLoss(
        of="graph",
        loss_pp=sum(shares_pp.values()),
        shares_pp=shares_pp,
        slowest=" and ".join(part.agent for part in slower),
        instance=slower[0].instance,
    )


def slower_parts(path: CriticalPath, phase: str) -> list[PathPart]:
    """A phase of each agent that loses much of what the phase loses, the most first; one at least."""
    ordered = sorted((part for part in path.parts if part.phase == phase), key=more_ms, reverse=True)
    least_ms = _LEAST_SHARE * sum(map(more_ms, ordered))
    return [part for part in ordered if part is ordered[0] or 0 < least_ms <= more_ms(part)]


def more_ms(part: PathPart) -> float:
    """By how much longer it takes than alone."""
    return part.ms - part.alone_ms
