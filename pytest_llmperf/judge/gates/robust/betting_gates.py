"""Gates that are decided by betting (`--llmperf-robust`, `robust=True`): which can be, their intervals, their rounds.

Means of metrics that are bounded on both sides can be, shares of rounds and of requests, percentiles over requests, and
medians (by the share of rounds below a point). See `judge.stats.betting` and docs/verdicts.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.stats.betting import mean_interval, median_interval, rounds_to_refute
from pytest_llmperf.judge.stats.confidence_intervals import Interval
from pytest_llmperf.judge.stats.resolution import step_of
from pytest_llmperf.judge.stats.summary import Aggregate
from pytest_llmperf.model import Bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.model import Gate, Settings

OPTION = "--llmperf-robust"


def bets(gate: Gate) -> bool:
    """Whether a gate is decided by betting."""
    return gate.robust and metric_of(gate.metric).aggregate is not Aggregate.MAX and not why_not(gate)


def why_not(gate: Gate) -> str:
    """Why a gate cannot be decided by betting, in words; empty if it can, or if its rule assumes no distribution."""
    metric = metric_of(gate.metric)
    if gate.delta is not None:
        return "it compares, and how sessions or pairs differ has no known bound"
    if metric.aggregate in (Aggregate.MAX, Aggregate.MEDIAN, Aggregate.PERCENTILE):
        return ""
    if metric.aggregate is Aggregate.CV or metric.ceiling is None:
        return f"{metric.name} has no known upper bound"
    if not 0 < gate.limit < metric.ceiling:
        return f"its limit {gate.limit:g} is a bound of {metric.name}, which no number of rounds can show"
    return ""


def as_asked(gates: Sequence[Gate], settings: Settings) -> tuple[Gate, ...]:
    """The gates; all of them robust if the settings ask for that.

    Raises:
        UsageError: a marker says `robust=True` and its gate cannot be.
    """
    for gate in gates:
        if gate.robust and (reason := why_not(gate)):
            raise UsageError(
                f"gate {gate.marker} ({gate.source}) cannot be robust: {reason}",
                next_step="remove robust=True from its marker, or choose another limit; see docs/verdicts.md",
            )
    return tuple(replace(gate, robust=True) for gate in gates) if settings.robust else tuple(gates)


def notes_of(gates: Sequence[Gate]) -> tuple[str, ...]:
    """A note on the gates that the option asks for and that keep their usual rule; empty if there are none."""
    reasons: dict[str, dict[str, None]] = {}
    for gate in gates:
        if gate.robust and (reason := why_not(gate)):
            reasons.setdefault(reason, {})[gate.marker] = None
    if not reasons:
        return ()
    words = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
    return (f"{OPTION} does not apply to {words}: judged by the usual rule",)


def reason_of(gate: Gate) -> str:
    """The clause that a verdict's reason ends with if the gate asked for betting and was judged by its usual rule."""
    reason = why_not(gate) if gate.robust else ""
    return f"; not by betting: {reason}" if reason else ""


def betting_interval(gate: Gate, values: Sequence[float], gates: int = 1) -> Interval:
    """The interval of a gate that bets, wider by half the step of values that repeat."""
    metric, half = metric_of(gate.metric), step_of(values) / 2
    if metric.aggregate is Aggregate.MEDIAN:
        known = median_interval(values, gates=gates)
        return replace(known, low=max(known.low - half, 0.0), high=known.high + half)
    ceiling = metric.ceiling or 0.0
    half = 0.0 if metric.aggregate is Aggregate.RATE else half  # counts have no step
    known = mean_interval(values, ceiling, gates=gates)
    return replace(known, low=max(known.low - half, 0.0), high=min(known.high + half, ceiling))


def rounds_of(gate: Gate, values: Sequence[float], gates: int = 1) -> int | None:
    """The rounds, in all, after which betting decides a gate if they go on like these; None: too many."""
    better, worse = _sides(gate, values, step_of(values) / 2)
    passes, fails = rounds_to_refute(*better), rounds_to_refute(*worse, gates=gates)
    known = [rounds for rounds in (passes, fails) if rounds is not None]
    return min(known, default=None)


def rounds_to_pass(gate: Gate, values: Sequence[float], most: int) -> int | None:
    """The rounds after which a gate passes if all of them are like these; None: more than `most`."""
    return rounds_to_refute(*_sides(gate, values, 0.0)[0], most=most)


def _sides(
    gate: Gate, values: Sequence[float], half: float
) -> tuple[tuple[Sequence[float], float], tuple[Sequence[float], float]]:
    """The bets for `pass` and for `fail`: values from 0, and the mean that they must refute.

    Args:
        gate: a gate that bets.
        values: one or more.
        half: the step of values that repeat.
    """
    metric, least = metric_of(gate.metric), gate.bound is Bound.MIN
    if metric.percentile is not None:
        good = [float(value <= gate.limit) for value in values]
        share = metric.percentile / 100
        return (good, share), ([1 - value for value in good], 1 - share)
    if metric.aggregate is Aggregate.MEDIAN:
        beyond = [value - gate.limit if least else gate.limit - value for value in values]
        return ([float(by >= half) for by in beyond], 0.5), ([float(by < -half) for by in beyond], 0.5)
    ceiling = metric.ceiling or 0.0
    half = 0.0 if metric.aggregate is Aggregate.RATE else half
    above = values, gate.limit + half
    below = [ceiling - value for value in values], ceiling - gate.limit + half
    return (above, below) if least else (below, above)
