"""The first screen of the HTML page: what failed and why, then a row per verdict, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.model.node_id import short_name
from pytest_llmperf.report.comparisons import cells, is_comparison
from pytest_llmperf.report.severity_order import severity
from pytest_llmperf.report.wording.amounts import amount, digits_in, limit_amount

Plain = Mapping[str, Any]

_MOST_FAILURES = 5
_MOST_WORDS = 3
_MOST_PASSES = 10
_PASSED = ("pass",)


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
        source: where the limit or the old value comes from.
        text: the verdict with its explanation.
        order: a sort key, the worst first.
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
    text: str
    order: tuple[int, float]


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
    return sorted(_judged(record), key=lambda verdict: verdict.order)


def failures(views: Sequence[Any], unexplained: Iterable[Plain]) -> tuple[list[Failure], int]:
    """What failed, the first few tests, and the number of all.

    Args:
        views: sections of the page, see `views.View`.
        unexplained: tests that failed for a reason other than a gate.
    """
    entries = [failure for view in views if (failure := _failure(view))]
    entries += [_error(test) for test in unexplained]
    return entries[:_MOST_FAILURES], len(entries)


def is_long(views: Sequence[Any]) -> bool:
    """Whether passing verdicts are so many that they are folded."""
    return sum(verdict.outcome in _PASSED for view in views for verdict in view.judged) > _MOST_PASSES


def _judged(record: Plain) -> Iterator[Judged]:
    for verdict, words in zip(record["verdicts"], record["judged"], strict=True):
        gate, metric, more = verdict["gate"], words["metric"], digits_in(verdict)
        compared = is_comparison(verdict)
        if compared:
            old = figure(gate["limit"], metric, more)
            *_, change, allowed = cells(verdict)
        else:
            old, change = NOTHING, "-"
            allowed = (
                f"{'at least' if gate['bound'] == 'min' else 'at most'} {limit_amount(gate['limit'], metric, more)}"
            )
        yield Judged(
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
            source=gate["source"] or words["limit"],
            text=words["text"],
            order=severity(words["outcome"], gate["delta"], verdict["worse_by"]),
        )


def _end(value: float | None, metric: str, more: int) -> Figure:
    """An end of an interval, without unit."""
    return Figure(value=value, words=amount(value, metric, more).partition(" ")[0])


def _failure(view: Any) -> Failure | None:
    """A measurement whose test a gate or an alarm of it failed."""
    record = view.record
    failing = [row for row in view.judged if row.action == "fail" and row.outcome not in _PASSED]
    failing = [row for row in failing if row.outcome != "inconclusive"] or failing
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
    if row.old.value is not None:
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
