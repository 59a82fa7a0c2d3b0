"""The figures of external agents besides their requests: own work, and what their programs used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmperf.model import ExternalAgent

if TYPE_CHECKING:
    from pytest_llmperf.model import AgentRun, Measurement

_MS = 1e6

ALONE, TOGETHER = "alone", "together"
"""The parts of a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalFigures:
    """An external agent alone or together with the others. Times are medians over the rounds.

    Attributes:
        agent: its name.
        part: `alone` or `together`.
        runs: how many runs there are.
        boundary: where its times begin and end, in words: the barrier and its last answer, or its own marks.
        before_ms: own work before its first request, ms; None without marks.
        after_ms: own work after its last answer, ms; None without marks.
        workflow_ms: from its mark `begin` to its mark `end`, without the wait at the barrier, ms; None without marks.
        start_up_ms: from the start of its process to its first bytes at the tap, ms; None if it is no command.
        cpu_ms: CPU time of its processes, ms; None if unknown.
        peak_rss_mib: peak resident memory of its processes, MiB, the highest of any round; None if unknown.
        program: the agents that ran in the same program.
        unknown: why figures of its program are missing, in words; empty if none is.
    """

    agent: str
    part: str
    runs: int
    boundary: str
    before_ms: float | None
    after_ms: float | None
    workflow_ms: float | None
    start_up_ms: float | None
    cpu_ms: float | None
    peak_rss_mib: float | None
    program: tuple[str, ...]
    unknown: str


def external_figures(measurement: Measurement) -> tuple[ExternalFigures, ...]:
    """The figures of each external agent of a measurement, alone and together; a single agent has only the latter."""
    several = len(measurement.scenario.agents) > 1
    return tuple(
        _figures(part, runs)
        for index, agent in enumerate(measurement.scenario.agents)
        if isinstance(agent, ExternalAgent)
        for part, runs in (
            (ALONE, [round_.solo[index] for round_ in measurement.rounds] if several else []),
            (TOGETHER, [round_.together[index] for round_ in measurement.rounds]),
        )
        if runs
    )


def _figures(part: str, runs: Sequence[AgentRun]) -> ExternalFigures:
    marked = [run.workflow for run in runs if run.workflow is not None]
    used = [run.process for run in runs if run.process is not None]
    peaks = [use.peak_rss_bytes for use in used if use.peak_rss_bytes is not None]
    return ExternalFigures(
        agent=runs[0].agent,
        part=part,
        runs=len(runs),
        boundary=_boundary(len(marked), len(runs)),
        before_ms=_median(work.before_ns for work in marked),
        after_ms=_median(work.after_ns for work in marked),
        workflow_ms=_median(work.total_ns for work in marked),
        start_up_ms=_median(use.start_up_ns for use in used),
        cpu_ms=_median(use.cpu_ns for use in used),
        peak_rss_mib=max(peaks) / 2**20 if peaks else None,
        program=used[0].agents if used else (),
        unknown=_unknown(runs),
    )


def _boundary(marked: int, runs: int) -> str:
    if marked == runs:
        return "its own marks"
    return "barrier to last answer" + (f" in {runs - marked} of {runs} runs, else its own marks" if marked else "")


_UNKNOWN: tuple[tuple[Callable[[AgentRun], bool], str], ...] = (
    (lambda run: run.process is None, "it is no command, so it has no process of its own"),
    (lambda run: run.process is not None and run.process.cpu_ns is None, "only Linux tells CPU time and memory"),
    (lambda run: run.process is not None and run.process.peak_rss_bytes is None, "the system shows no peak memory"),
)
"""Why figures of a program are unknown."""


def _unknown(runs: Sequence[AgentRun]) -> str:
    return next((why for lacks, why in _UNKNOWN if all(map(lacks, runs))), "")


def _median(values: Iterable[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) / _MS if known else None
