"""The error of a metric because of several hosts' clocks, and the verdicts that allow for it.

Times of one host are exact. Times between hosts, and from the barrier on, may be off by the bound of the clocks'
offset (`Round.clock_bound_ns`), in every round in the same direction: more rounds do not average it away. Verdicts are
therefore judged three times: with the values as measured, and with all of them moved as far as the bound allows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llmperf.judge.metrics.catalogue import PHASES, metric_of
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.judge.stats.summary import Aggregate, mean
from pytest_llmperf.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llmperf.model import Gate, Measurement, Round, Verdict

MOST_BOUND_SHARE = 0.01
"""A round whose bound is more than this share of its wall time does not count."""


def bound_ns(round_: Round) -> int:
    """The bound of a round, ns; 0 if its agents ran on one host."""
    return round_.clock_bound_ns or 0


def bound_share(round_: Round) -> float:
    """The bound over the wall time W of the together part."""
    return bound_ns(round_) / _wall_ns(round_)


def clock_error(measurement: Measurement, metric: str) -> float:
    """The maximum error of a round's value because of the hosts' clocks, in the metric's unit.

    Args:
        measurement: one or more rounds, for which the metric is defined.
        metric: as for `series`.

    Returns:
        The largest of all rounds; 0 for metrics of one host (TTFT, ITL, ...), and if all agents ran on one host.
    """
    definition = metric_of(metric)
    name = metric.removesuffix("_cv_pct") if definition.aggregate is Aggregate.CV else metric
    if name not in _ERRORS or not any(map(bound_ns, measurement.rounds)):
        return 0.0
    error = _ERRORS[name]
    values = series(measurement, name)
    return max(error(round_, value) for round_, value in zip(measurement.rounds, values, strict=True))


def with_clock_error(
    judged: Callable[[Sequence[float]], Verdict], gate: Gate, values: Sequence[float], error: float
) -> Verdict:
    """The verdict that holds for all values that the clocks allow.

    Args:
        judged: the verdict of a gate on such values.
        gate: the gate.
        values: the measured values, one for each round.
        error: see `clock_error`.

    Returns:
        The verdict on the values as measured, with the widest interval; inconclusive if other possible values would
        get another outcome.
    """
    verdict = judged(values)
    if not error or verdict.outcome not in (Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE):
        return verdict
    moved = [judged(extreme) for extreme in _extremes(gate, values, error)]
    all_of_them = (verdict, *moved)
    lows, highs = [each.low for each in all_of_them], [each.high for each in all_of_them]
    definition = metric_of(gate.metric)
    words = f"the clocks of the hosts may move each value by {error:.2g} {definition.unit}".rstrip()
    same = all(each.outcome is verdict.outcome for each in moved)
    if not same:
        words += f", which leaves open whether this is a {verdict.outcome}"
    return replace(
        verdict,
        outcome=verdict.outcome if same else Outcome.INCONCLUSIVE,
        low=None if None in lows else min(low for low in lows if low is not None),
        high=None if None in highs else max(high for high in highs if high is not None),
        reason=f"{verdict.reason}; {words}",
    )


def _extremes(gate: Gate, values: Sequence[float], error: float) -> tuple[list[float], list[float]]:
    """The values moved as far as they may be: all down and all up; for a CV towards the mean and away from it."""
    definition = metric_of(gate.metric)
    if definition.aggregate is Aggregate.CV:
        middle = mean(values)
        nearer = [value + max(-error, min(error, middle - value)) for value in values]
        return nearer, [max(0.0, value + (error if value > middle else -error)) for value in values]
    if gate.delta is not None:
        error *= 2  # what is compared with may be off by as much
    most = definition.ceiling
    up = [value + error if most is None else max(value, min(value + error, most)) for value in values]
    return [max(0.0, value - error) for value in values], up


def _wall_ns(round_: Round) -> int:
    """W, of the together part."""
    return max(run.duration_ns for run in round_.together)


def _of_wall(round_: Round, value: float) -> float:
    """For a sum of exact durations, or of tokens, over W."""
    bound = bound_ns(round_)
    return value * bound / (_wall_ns(round_) - bound)


def _of_both(round_: Round, value: float) -> float:
    """For `sum(C_i) / W`, where both may be off."""
    return 2 * _of_wall(round_, value)


_ERRORS: Mapping[str, Callable[[Round, float], float]] = {
    "efficiency_pct": _of_both,
    "speedup": _of_both,
    "scaling_efficiency_pct": _of_wall,
    "scaling_speedup": _of_wall,
    "graph_efficiency_pct": _of_wall,
    "system_tok_s": _of_wall,
    "makespan_s": lambda round_, _: bound_ns(round_) / 1e9,
    "slowdown": lambda round_, value: value * bound_ns(round_) / min(run.own_ns for run in round_.together),
    # each hand-over between two agents on the path may be off by both of their clocks
    **{f"critical_{phase}_share": lambda round_, _: _of_both(round_, len(round_.together)) for phase in PHASES},
}
"""How far a value may be off, by metric. Not in it: metrics of single requests, which one host measures."""
