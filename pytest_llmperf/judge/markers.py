"""Gate markers as they are written on tests: values of a kind's keywords, validated by the table of kinds.

Imported when tests are collected: it needs only the standard library and `gate_kinds`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.judge.gate_kinds import COMPARED_METRICS, GATE_KINDS, PERCENTILE, ROBUST, GateKind
from pytest_llmperf.judge.marker_keywords import Keyword


@dataclass(frozen=True, slots=True)
class Marker:
    """A gate marker; `marker["min_pct"]` is the value of a keyword.

    Attributes:
        kind: its row of the table.
        values: the values of the keywords, in the order of the row.
    """

    kind: GateKind
    values: tuple[object, ...]

    def __getitem__(self, keyword: str) -> Any:
        return self.values[[row.name for row in self.kind.keywords].index(keyword)]

    def __repr__(self) -> str:  # resumable runs of a matrix remember it: keep the form
        rows = zip(self.kind.keywords, self.values, strict=True)
        given = (f"{row.name}={value!r}" for row, value in rows if row not in (ROBUST, PERCENTILE) or value)
        return f"{self.name.capitalize()}({', '.join(given)})"

    def __str__(self) -> str:
        """The marker as one would write it, with what differs from the defaults, e.g. `efficiency(min_pct=95)`."""
        rows = zip(self.kind.keywords, self.values, strict=True)
        given = [f"{row.name}={value!r}" for row, value in rows if value != row.default]
        return f"{self.name}({', '.join(given)})"

    @property
    def name(self) -> str:
        """The name of its kind."""
        return self.kind.name

    @property
    def compares(self) -> bool:
        """Whether it asks for comparisons with stored sessions or an incumbent."""
        return self.kind.judged == "comparison"

    @property
    def robust(self) -> bool:
        """Whether its limits are to be decided by betting."""
        return ROBUST in self.kind.keywords and bool(self[ROBUST.name])

    @property
    def request_limits(self) -> tuple[tuple[str, float], ...]:
        """What each request has to keep: metrics of requests with the largest values."""
        rows = zip(self.kind.keywords, self.values, strict=True)
        return tuple((row.name, float(str(value))) for row, value in rows if row.of_requests and value is not None)

    @property
    def limits(self) -> tuple[Keyword, ...]:
        """The limits that it makes gates of: those with a value, else the first."""
        return tuple(row for row in self.kind.limits if self[row.name] is not None) or self.kind.limits[:1]

    def metric(self, limit: Keyword) -> str:
        """The metric of a limit; empty if the kind's metric does not follow from its keywords."""
        rows = zip(self.kind.keywords, self.values, strict=True)
        return limit.metric.format(**{row.name: row.means.get(str(value), value) for row, value in rows})

    def stated(self, limit: Keyword, bare: float | None) -> tuple[float, str] | None:
        """A limit and its source in words: the marker's own value, else the option's; None if neither has one.

        Args:
            limit: one of `limits`.
            bare: the value that `--llmperf-limit` gives for the kind, if any.
        """
        if self[limit.name] is not None:
            return self[limit.name], f"marker {self}"
        return None if bare is None else (bare, f"--llmperf-limit {self.name}={bare:g}")


def build(name: str, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None) -> Marker:
    """A marker as it was written on a test, validated.

    Args:
        name: a key of GATE_KINDS.
        args: positional arguments as written; none is allowed.
        kwargs: keywords as written.

    Raises:
        ValueError: no such marker, or a value out of range.
        TypeError: positional arguments, an unknown keyword, or a value of the wrong type.
            Each text lists the valid keywords and their ranges.
    """
    if name not in GATE_KINDS:
        raise ValueError(f"unknown gate marker {name!r}, wanted one of {', '.join(GATE_KINDS)}")
    kind, kwargs = GATE_KINDS[name], kwargs or {}
    if args:
        raise TypeError(f"{name} takes keywords only, got {', '.join(map(repr, args))}; {kind.usage()}")
    known = {keyword.name for keyword in kind.keywords}
    for keyword in kwargs:
        if keyword not in known:
            able = ", ".join(row.name for row in GATE_KINDS.values() if ROBUST in row.keywords)
            why = f" (only {able} do: their metrics have bounds, or medians)" if keyword == ROBUST.name else ""
            why = f": {kind.lacks[keyword]}" if keyword in kind.lacks else why
            raise TypeError(f"{name} has no keyword {keyword!r}{why}; {kind.usage()}")
    marker = Marker(kind, tuple(kind.checked(row, kwargs.get(row.name, row.default)) for row in kind.keywords))
    return _agreeing(marker)


def _agreeing(marker: Marker) -> Marker:
    """The marker, if its keywords can be used together, or a ValueError."""
    kind = marker.kind
    if PERCENTILE in kind.keywords and marker[PERCENTILE.name] is not None:
        for row in kind.limits:
            if marker[row.name] is not None and "{percentile}" not in row.metric:
                raise ValueError(f"{kind.name}: {row.name} has no percentile; {kind.usage()}")
    return marker


def usual_metric(name: str) -> str:
    """The metric that the name of a gate says by itself; empty if reports are to name the metric."""
    kind = GATE_KINDS.get(name)
    return "" if kind is None or kind.names_metric else build(name).metric(kind.limits[0])


def count_gates(markers: Sequence[Marker], *, compare: bool, against: bool = False) -> int:
    """How many gates the markers of one test make, for one measurement.

    Args:
        markers: the markers of the test.
        compare: whether `--llmperf-compare` adds comparisons to a test without a `regression` marker.
        against: whether `--llmperf-against` does, and judges the marker's comparisons a second time.
    """
    compared = [len(marker["metrics"]) for marker in markers if marker.compares]
    if (compare or against) and not compared:
        compared = [len(COMPARED_METRICS)]
    limits = sum(len(marker.limits) for marker in markers if not marker.compares)
    return limits + (2 if compare and against else 1) * sum(compared)
