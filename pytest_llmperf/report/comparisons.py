"""Verdicts of a session's document for a pull request: old, new, change and allowed change, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_llmperf.judge.gates.reasons import change_words, signed
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.stats.summary import Aggregate
from pytest_llmperf.model import Outcome
from pytest_llmperf.report.severity_order import severity
from pytest_llmperf.report.wording.amounts import amount, digits_in

Plain = Mapping[str, Any]
Judged = tuple[Plain, Plain, Plain]
"""A record, a verdict of it in words, and the verdict."""

_MOST_TITLES = 3
NOISE_ONLY = "noise only"
NOISE_ONLY_NOTE = "noise only: a loss below delta fails, too, if it is larger than noise explains"


def judged(records: Iterable[Plain]) -> list[Judged]:
    """Every verdict with its record: records in their order, the worst verdict of each first."""
    return [pair for record in records for pair in sorted(_of(record), key=_severity_of)]


def comparisons(verdicts: Iterable[Judged]) -> list[Judged]:
    """The verdicts that compare with stored sessions or an incumbent, the worst first."""
    return sorted((verdict for verdict in verdicts if is_comparison(verdict[2])), key=_severity_of)


def is_comparison(verdict: Plain) -> bool:
    """Whether a verdict compares with stored sessions or an incumbent, and not with a limit."""
    return verdict["gate"]["delta"] is not None


def cells(verdict: Plain) -> tuple[str, str, str, str]:
    """Old, new, change and allowed change, e.g. `98.0 %`, `95.0 %`, `-3.0 pp`, `-2 pp`.

    A loss below delta that failed is allowed as far as it may be noise.
    """
    gate, more = verdict["gate"], digits_in(verdict)
    metric = metric_of(gate["metric"])
    sign = -1 if gate["bound"] == "min" else 1
    worse_by = verdict["worse_by"]
    change = "?" if worse_by is None else f"{signed(sign * worse_by)} {metric.change_unit}"
    failed = verdict["outcome"] == Outcome.FAIL and worse_by is not None and worse_by < gate["delta"]
    allowed = NOISE_ONLY if failed else f"{sign * gate['delta']:+g} {metric.change_unit}"
    return amount(gate["limit"], metric.name, more), amount(verdict["value"], metric.name, more), change, allowed


def by_source(verdicts: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Comparisons grouped by their source."""
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
    """The titles of several verdicts in one line."""
    few = [title(*verdict) for verdict in verdicts[:_MOST_TITLES]]
    more = len(verdicts) - len(few)
    return ", ".join([*few, *([f"{more} more"] if more > 0 else [])])


def description(words: Plain, verdict: Plain) -> str:
    """One line: a comparison by metric, change and both values, another verdict by its text."""
    if not is_comparison(verdict) or verdict["worse_by"] is None:
        return str(words["text"]).partition("\n")[0]
    old, new, _, allowed = cells(verdict)
    change = f"{title(words, verdict)} ({words['outcome']})"
    return f"{change}: {old} -> {new}, allowed {allowed}; {verdict['gate']['source']}"


def wide_passes(verdicts: Sequence[Judged]) -> list[tuple[Plain, str]]:
    """Contention gates that pass although their interval exceeds the limit, with the reason."""
    return [
        (
            record,
            f"{words['gate']} passes by the number of contended rounds ({verdict['reason']}); its interval reaches "
            f"{amount(verdict['high'], words['metric'])} because there are only {verdict['rounds']} rounds",
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


def _severity_of(judged_verdict: Judged) -> tuple[int, float]:
    """A sort key, see `severity`."""
    _, words, verdict = judged_verdict
    return severity(words["outcome"], verdict["gate"]["delta"], verdict["worse_by"])
