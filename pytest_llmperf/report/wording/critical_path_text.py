"""The critical path in words: which agents, and which of their phases, the makespan consists of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmperf.judge.metrics.graphs.critical_path import path_of

if TYPE_CHECKING:
    from pytest_llmperf.judge.metrics.graphs.critical_path import CriticalPath
    from pytest_llmperf.model import Measurement

PATH = "critical path: "
"""How the sentence begins."""

_LEAST_SHARE = 0.01
"""Smaller shares of the makespan are not named."""

_MOST_PARTS = 6
_LONG_CHAIN = 12


def traced_path(measurement: Measurement) -> CriticalPath | None:
    """The critical path, if reports show it: of a graph, and of external agents, which may wait for each other."""
    shown = measurement.scenario.graph or measurement.scenario.external
    return path_of(measurement) if shown else None


def path_words(path: CriticalPath) -> str:
    """The critical path in one sentence.

    E.g. `critical path: planner > w3 > critic (in 5 of 5 rounds); makespan 0.568 s: decode of w3 32 %, ...`.
    """
    shown = [part for part in path.parts if part.share >= _LEAST_SHARE][:_MOST_PARTS]
    parts = ", ".join(f"{part.phase} of {part.agent} {100 * part.share:.0f} %" for part in shown)
    inferred = "; the edges are inferred from the times of the requests" if path.inferred else ""
    return (
        f"{PATH}{_chain(path.agents)} (in {path.count} of {path.rounds} rounds); makespan "
        f"{path.makespan_ms / 1000:.3f} s: {parts}{inferred}"
    )


def _chain(agents: Sequence[str]) -> str:
    """The agents in their order; the middle of a long loop is left out."""
    if len(agents) <= _LONG_CHAIN:
        return " > ".join(agents)
    half = _LONG_CHAIN // 2
    left_out = len(agents) - 2 * half
    return f"{' > '.join(agents[:half])} > ... {left_out} more ... > {' > '.join(agents[-half:])}"
