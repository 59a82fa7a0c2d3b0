"""How agents run together, in one sentence, and what to do next."""

from __future__ import annotations

from pytest_llmperf.judge.diagnosis.diagnose import LARGE_PP, Diagnosis, diagnose
from pytest_llmperf.judge.record import Record
from pytest_llmperf.report.figures import value_of

_WELL = "the agents run well together"
_BY_LOSS = {"scaling": "the agents slow each other down", "balance": "the agents do not finish at the same time"}
"""What is wrong, by the efficiency that lost more."""

_KEEP = "write tests that fail if this gets worse: pytest-llmperf init"
_SHARED = "give the second agent a server of its own, or the server more slots, and compare: pytest-llmperf quick"
_LOOK = "see where the time goes: pytest-llmperf init, then pytest perf -m multiagent --llmperf-diagnose"


def together_text(record: Record) -> tuple[str, str]:
    """A sentence about the rounds of a record, with its cause if much is lost; and the next step.

    Args:
        record: a record with at least one round of at least two agents.
    """
    diagnosis = diagnose(record.measurement)
    lost = diagnosis is not None and diagnosis.loss_pp >= LARGE_PP
    opinion = _BY_LOSS[diagnosis.of] if lost and diagnosis is not None else _WELL
    cause = _cause(diagnosis) if lost else ""
    return f"{opinion}{_figures(record)}{cause}", _next_step(record, diagnosis if lost else None, lost=lost)


def _figures(record: Record) -> str:
    """What running together gains, and what it costs each agent; empty if that is undefined."""
    gain, slowdown = value_of(record, "scaling_speedup"), value_of(record, "slowdown")
    if gain is None or slowdown is None:
        return ""
    work = f"together {gain:.2f} x as much work per second as one after the other"
    return f": {work}, the slowest agent {slowdown:.2f} x as slow as alone"


def _cause(diagnosis: Diagnosis | None) -> str:
    """What is known of the servers, else what the figures say."""
    if diagnosis is None:
        return ""
    text = diagnosis.facts[0] if diagnosis.facts else diagnosis.sentence
    return f"; {text}" if text else ""


def _next_step(record: Record, diagnosis: Diagnosis | None, *, lost: bool) -> str:
    if not lost:
        return _KEEP
    if diagnosis is not None and diagnosis.next_step:
        return diagnosis.next_step
    return _SHARED if record.measurement.topology.kind.shared else _LOOK
