"""Verdicts of a session's document for readers of a pull request: old, new, change, allowed; the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_llmperf.judge.gates.reasons import change_words, signed
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.stats.summary import Aggregate
from pytest_llmperf.report.severity_order import severity
from pytest_llmperf.report.wording.amounts import amount, digits_in

Plain = Mapping[str, Any]
Judged = tuple[Plain, Plain, Plain]
"""A record, a verdict of it in words, and the verdict itself."""

_MOST_TITLES = 3


def judged(records: Iterable[Plain]) -> list[Judged]:
    """Every verdict with its record; records in their order, of each the worst verdict first."""
    return [pair for record in records for pair in sorted(_of(record), key=_badness)]


def comparisons(verdicts: Iterable[Judged]) -> list[Judged]:
    """Those that compare with what was before, the worst first."""
    return sorted((verdict for verdict in verdicts if is_comparison(verdict[2])), key=_badness)


def is_comparison(verdict: Plain) -> bool:
    """Whether it compares with stored sessions or an incumbent; else it holds a value to a limit."""
    return verdict["gate"]["delta"] is not None


def cells(verdict: Plain) -> tuple[str, str, str, str]:
    """Old, new, change and what is allowed, e.g. `98.0 %`, `95.0 %`, `-3.0 pp`, `-2 pp`."""
    gate, more = verdict["gate"], digits_in(verdict)
    metric = metric_of(gate["metric"])
    sign = -1 if gate["bound"] == "min" else 1
    worse_by = verdict["worse_by"]
    change = "?" if worse_by is None else f"{signed(sign * worse_by)} {metric.change_unit}"
    allowed = f"{sign * gate['delta']:+g} {metric.change_unit}"
    return amount(gate["limit"], metric.name, more), amount(verdict["value"], metric.name, more), change, allowed


def by_source(verdicts: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Comparisons by what they compare with."""
    groups: dict[str, list[Judged]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict[2]["gate"]["source"], []).append(verdict)
    return groups


def title(words: Plain, verdict: Plain) -> str:
    """A verdict in a few words: `ttft_ms worse by 31.0 %`, `efficiency fail`."""
    if is_comparison(verdict) and verdict["worse_by"] is not None:
        metric = metric_of(words["metric"])
        return f"{metric.name} {change_words(verdict['worse_by'], metric.change_unit)}"
    return f"{words['gate']} {words['outcome']}"


def titles(verdicts: Sequence[tuple[Plain, Plain]]) -> str:
    """Several in one line."""
    few = [title(*verdict) for verdict in verdicts[:_MOST_TITLES]]
    more = len(verdicts) - len(few)
    return ", ".join([*few, *([f"{more} more"] if more > 0 else [])])


def description(words: Plain, verdict: Plain) -> str:
    """One line: a comparison by metric, change and both values, anything else by its text."""
    if not is_comparison(verdict) or verdict["worse_by"] is None:
        return str(words["text"]).partition("\n")[0]
    old, new, _, allowed = cells(verdict)
    change = f"{title(words, verdict)} ({words['outcome']})"
    return f"{change}: {old} -> {new}, allowed {allowed}; {verdict['gate']['source']}"


def wide_passes(verdicts: Sequence[Judged]) -> list[tuple[Plain, str]]:
    """Gates on contention that pass although their interval is wider than the limit, with why."""
    return [
        (
            record,
            f"{words['gate']} passes: no more rounds were contended than its limit allows ({verdict['reason']}); the "
            f"interval up to {amount(verdict['high'], words['metric'])} is that of {verdict['rounds']} rounds, and "
            "narrows with more",
        )
        for record, words, verdict in verdicts
        if words["outcome"] == "pass"
        and not is_comparison(verdict)
        and metric_of(words["metric"]).aggregate is Aggregate.RATE
        and verdict["high"] is not None
        and verdict["high"] > verdict["gate"]["limit"]
    ]


def _of(record: Plain) -> list[Judged]:
    return [(record, *pair) for pair in zip(record["judged"], record["verdicts"], strict=True)]


def _badness(judged_verdict: Judged) -> tuple[int, float]:
    """By outcome, then by the change in terms of what is allowed."""
    _, words, verdict = judged_verdict
    return severity(words["outcome"], verdict["gate"]["delta"], verdict["worse_by"])
