"""The cost of betting before any server starts: rounds until a gate passes, from stored or assumed values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.judge.baselines.toml_format import LEVEL
from pytest_llmperf.judge.gates.reasons import limit_words
from pytest_llmperf.judge.gates.robust.betting_gates import bets, notes_of, rounds_to_pass
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.stats.summary import Aggregate
from pytest_llmperf.model import Bound, Gate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_llmperf.judge.markers import Marker
    from pytest_llmperf.model import Baseline, Settings

_ASSUMED_SHARE = 0.012
"""Standard deviation of rounds if nothing is stored, as a share of the range: 1.2 points of efficiency."""

_MOST = 1_000_000

_STAND_INS = {"cost": "system_tok_s", "answers": "quality_drop_pp", "comparison": "efficiency_pct"}
"""Metrics for the gate kinds whose metric or limit is known only after a measurement; betting cannot decide them."""


def cost_lines(
    markers_by_test: Mapping[str, Sequence[Marker]], settings: Settings, baselines: Sequence[Baseline]
) -> tuple[str, ...]:
    """A line for each limit that betting will decide, and a line for the gates that it cannot decide; no duplicates.

    Args:
        markers_by_test: the gate markers by the name of the test.
        settings: the settings of the session.
        baselines: first the baseline that limits come from, then other baselines with stored rounds.
    """
    gates = {
        test: [
            gate
            for marker in markers
            if settings.robust or marker.robust
            for gate in _gates(marker, settings, baselines[0])
        ]
        for test, markers in markers_by_test.items()
    }
    lines = dict.fromkeys(
        _line(gate, _stored(test, gate.metric, baselines), settings.max_rounds)
        for test, own in gates.items()
        for gate in own
        if bets(gate)
    )
    return (*lines, *notes_of([gate for own in gates.values() for gate in own]))


def _gates(marker: Marker, settings: Settings, baseline: Baseline) -> Iterator[Gate]:
    """The gates of a marker, one for each possible limit: the stated limit, or else each limit of the baseline."""
    if marker.kind.judged in _STAND_INS:
        yield _gate(marker, _STAND_INS[marker.kind.judged], 0.0, delta=1.0 if marker.compares else None)
        return
    for limit in marker.limits:
        metric = marker.metric(limit)
        stated = marker.stated(limit, settings.limits.get(marker.name))
        names = (metric, limit.also.get(metric))
        known = {row.value for row in baseline.threshold if row.metric in names and row.level == LEVEL}
        for value in (stated[0],) if stated else sorted(known):
            yield _gate(marker, metric, value)


def _gate(marker: Marker, metric: str, limit: float, *, delta: float | None = None) -> Gate:
    """A gate that asks for betting."""
    good = metric_of(metric).good
    return Gate(marker=marker.name, metric=metric, bound=good, limit=limit, source="", delta=delta, robust=True)


def _stored(test: str, metric: str, baselines: Sequence[Baseline]) -> list[float]:
    """The stored rounds of a test, of all sessions of the first baseline that has some."""
    for baseline in baselines:
        sessions = [session for entry in baseline.stored if entry.test == test for session in entry.session]
        if values := [value for session in sessions for value in session.rounds.get(metric, ())]:
            return values
    return []


def _line(gate: Gate, stored: Sequence[float], most: int) -> str:
    """The rounds that a gate needs, in words."""
    metric = metric_of(gate.metric)
    if stored:
        supposed, like = stored, "if rounds are like the stored ones"
    elif metric.aggregate is Aggregate.MEAN and metric.ceiling is not None:
        best = metric.ceiling if gate.bound is Bound.MIN else 0.0
        middle = (gate.limit + best) / 2
        sd = min(_ASSUMED_SHARE * metric.ceiling, abs(best - middle))
        supposed, like = (middle - sd, middle + sd), f"if their mean is {middle:g} {metric.unit}, their sd {sd:g}"
    else:
        # all is well: values at the limit, no round counted as bad, every request good
        best = {Aggregate.RATE: 0.0, Aggregate.REQUESTS: 1.0}.get(metric.aggregate, gate.limit)
        supposed, like = (best,), "if all of them are good"
    rounds = rounds_to_pass(gate, supposed, _MOST)
    needs = f"needs about {rounds} rounds to pass" if rounds else f"will not pass in {_MOST} rounds"
    short = rounds is None or rounds > most
    more = f"; --llmperf-max-rounds allows {most}, raise it" if short else ""
    return f"{gate.marker} {gate.bound.word} {limit_words(gate.limit)} {metric.unit}, by betting: {needs} {like}{more}"
