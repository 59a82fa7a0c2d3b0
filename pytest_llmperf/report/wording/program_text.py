"""The figures of external agents in words, a line for each agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.report.external_figures import TOGETHER, ExternalFigures, external_figures

if TYPE_CHECKING:
    from pytest_llmperf.model import Measurement

AGENT = "agent "
"""How a line begins."""

_ROUNDED = 100
"""Amounts from here on have no decimal."""


def program_lines(measurement: Measurement) -> list[str]:
    """A line for each external agent with such figures, in the together part.

    E.g. `agent critic: start-up 45 ms, CPU 18 ms, peak memory 3.9 MiB; boundary: barrier to last answer`.
    """
    return [
        f"{AGENT}{figures.agent}: {'; '.join(words)}; boundary: {figures.boundary}"
        for figures in external_figures(measurement)
        if figures.part == TOGETHER and (words := list(filter(None, (_program(figures), _own_work(figures)))))
    ]


def _program(figures: ExternalFigures) -> str:
    known = (
        ("start-up", figures.start_up_ms, "ms"),
        ("CPU", figures.cpu_ms, "ms"),
        ("peak memory", figures.peak_rss_mib, "MiB"),
    )
    words = ", ".join(f"{name} {_amount(value)} {unit}" for name, value, unit in known if value is not None)
    if not words:
        return ""
    shared = f" (one program with {_others(figures)})" if len(figures.program) > 1 else ""
    return words + shared + (f" ({figures.unknown})" if figures.unknown else "")


def _others(figures: ExternalFigures) -> str:
    return ", ".join(name for name in figures.program if name != figures.agent)


def _own_work(figures: ExternalFigures) -> str:
    if figures.before_ms is None or figures.after_ms is None or figures.workflow_ms is None:
        return ""
    return (
        f"own work {_amount(figures.before_ms)} ms before its first request and {_amount(figures.after_ms)} ms after "
        f"its last answer, workflow {_amount(figures.workflow_ms)} ms"
    )


def _amount(value: float) -> str:
    return f"{value:.{0 if value >= _ROUNDED else 1}f}"
