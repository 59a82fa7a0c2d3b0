"""The first screen of the HTML page: what failed and why, then a row per verdict, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.model import Outcome
from pytest_llmperf.model.node_id import short_name
from pytest_llmperf.report.comparisons import cells, is_comparison, judged
from pytest_llmperf.report.wording.amounts import amount, digits_in, limit_amount

Plain = Mapping[str, Any]

_MOST_FAILURES = 5
_MOST_WORDS = 3
_MOST_PASSES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number and its text; `value` is None if it is undefined."""

    value: float | None
    words: str


NOTHING = Figure(value=None, words="-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A row of the table of verdicts.

    Attributes:
        gate: its marker.
        metric: what it judges.
        outcome: pass, fail, ...
        action: what the outcome does to the test.
        old: the stored value or the incumbent's; undefined for a limit.
        new: the measured value.
        low, high: the ends of its interval.
        change: from old to new, e.g. `-3.0 pp`; `-` for a limit.
        allowed: the change or the value that passes.
        source: where the limit comes from, or the name of what is compared with.
        compared_with: what is compared with, in full; empty for a limit.
        text: the verdict with its explanation.
    """

    gate: str
    metric: str
    outcome: str
    action: str
    old: Figure
    new: Figure
    low: Figure
    high: Figure
    change: str
    allowed: str
    source: str
    compared_with: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A test in the list of what failed.

    Attributes:
        anchor: where the page says more.
        name: of the test.
        words: the metrics and their changes, or the first line of an error.
        causes: with the last session without it, if that is known.
        next_step: what to do; empty if nothing is known.
    """

    anchor: str
    name: str
    words: str
    causes: tuple[str, ...]
    next_step: str


def figure(value: float | None, metric: str, more: int = 0) -> Figure:
    """A value with its unit."""
    return Figure(value=value, words=amount(value, metric, more))


def judged_of(record: Plain) -> list[Judged]:
    """The verdicts of a measurement, the worst first."""
    return [_row(words, verdict) for _, words, verdict in judged([record])]


def failures(views: Sequence[Any], unexplained: Iterable[Plain]) -> tuple[list[Failure], int]:
    """What failed, the first few tests, and the number of all.

    Args:
        views: sections of the page, see `views.View`.
        unexplained: tests that failed for a reason other than a gate.
    """
    entries = [failure for view in views if (failure := _failure(view))]
    entries += [_error(test) for test in unexplained]
    return entries[:_MOST_FAILURES], len(entries)


def are_folded(rows: Iterable[Judged]) -> bool:
    """Whether the passing verdicts of all measurements are too many to be shown unfolded."""
    return sum(row.outcome == Outcome.PASS for row in rows) > _MOST_PASSES


def _row(words: Plain, verdict: Plain) -> Judged:
    gate, metric, more = verdict["gate"], words["metric"], digits_in(verdict)
    source = gate["source"] or words["limit"]
    if is_comparison(verdict):
        old, compared_with, source = figure(gate["limit"], metric, more), source, source.partition(", ")[0]
        *_, change, allowed = cells(verdict)
    else:
        least = "at least" if gate["bound"] == "min" else "at most"
        old, compared_with, change = NOTHING, "", "-"
        allowed = f"{least} {limit_amount(gate['limit'], metric, more)}"
    return Judged(
        gate=words["gate"],
        metric=metric,
        outcome=words["outcome"],
        action=words["action"],
        old=old,
        new=figure(verdict["value"], metric, more),
        low=_end(verdict["low"], metric, more),
        high=_end(verdict["high"], metric, more),
        change=change,
        allowed=allowed,
        source=source,
        compared_with=compared_with,
        text=words["text"],
    )


def _end(value: float | None, metric: str, more: int) -> Figure:
    """An end of an interval, without unit."""
    return Figure(value=value, words=amount(value, metric, more).partition(" ")[0])


def _failure(view: Any) -> Failure | None:
    """A measurement whose test a gate or an alarm of it failed."""
    record = view.record
    failing = [row for row in view.judged if row.action == "fail"]
    failing = [row for row in failing if row.outcome != Outcome.INCONCLUSIVE] or failing
    if not failing and not view.why:
        return None
    lines = [line for row in failing for line in row.text.splitlines()[1:]]
    return Failure(
        anchor=view.anchor,
        name=short_name(record["test"]),
        words="; ".join(map(_words, failing[:_MOST_WORDS])) if failing else view.why,
        causes=tuple(_labelled(lines, "cause: ")),
        next_step=next(_labelled(lines, "next: "), ""),
    )


def _words(row: Judged) -> str:
    """How much is wrong."""
    if row.compared_with:
        return f"{row.metric} {row.change}, {row.old.words} to {row.new.words}"
    return f"{row.gate} {row.new.words}, allowed is {row.allowed}"


def _error(test: Plain) -> Failure:
    first, *lines = test["text"].splitlines()
    return Failure(
        anchor="failed",
        name=short_name(test["test"]),
        words=first,
        causes=(),
        next_step=next(_labelled(lines, "next: "), ""),
    )


def _labelled(lines: Iterable[str], label: str) -> Iterator[str]:
    """What these lines say after a label, each once."""
    said = (line.strip().removeprefix(label) for line in lines if line.strip().startswith(label))
    return iter(dict.fromkeys(said))
