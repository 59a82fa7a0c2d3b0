"""Verdicts of limit gates: an interval, a share of rounds or the largest round against the limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llmperf.judge.gates.reasons import figure_words, limit_words, more_words, needed_words, rounds_words
from pytest_llmperf.judge.gates.robust.betting_gates import bets, betting_interval, rounds_of
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.regression.session_spread import SessionSpread, spread_of
from pytest_llmperf.judge.regression.stored_sessions import SESSIONS_FOR_SPREAD
from pytest_llmperf.judge.stats.autocorrelation import variance_inflation
from pytest_llmperf.judge.stats.betting import BETTING_RULE
from pytest_llmperf.judge.stats.confidence_intervals import (
    MEDIAN_FACTOR,
    Interval,
    alpha_of_look,
    interval,
    rate_interval,
    rounds_to_decide,
)
from pytest_llmperf.judge.stats.distributions import beta_quantile, normal_tail
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.resolution import above, nearly, step_of, varies
from pytest_llmperf.judge.stats.roots import first_rounds
from pytest_llmperf.judge.stats.summary import Aggregate, aggregate_values, mean, sample_sd
from pytest_llmperf.model import Bound, Outcome, Verdict

if TYPE_CHECKING:
    from pytest_llmperf.judge.metrics.catalogue import Metric
    from pytest_llmperf.judge.regression.decision_rule import Look
    from pytest_llmperf.model import Gate


def charged_spread(gate: Gate, values: Sequence[float]) -> SessionSpread | None:
    """The spread between the stored sessions of a limit gate, at the level of these values; None if it does not apply.

    That is so if too few sessions are stored (see `session_spread`), for metrics that are no mean or median, and for
    gates that bet. For tok/s and ms, sessions are taken to differ by the same percentage at any level.
    """
    metric = metric_of(gate.metric)
    if gate.delta is not None or bets(gate) or metric.aggregate not in (Aggregate.MEAN, Aggregate.MEDIAN):
        return None
    spread = spread_of(metric.aggregate, gate.reference, len(values))
    if spread is None or metric.in_points or not float(spread.centre) > 0:
        return spread
    return spread.scaled(abs(aggregate_values(metric.aggregate, values)) / float(spread.centre))


def _charged(gate: Gate, values: Sequence[float], look: Look, known: Interval) -> Interval:
    """The interval of a session, widened by the spread between stored sessions if that is known."""
    spread = charged_spread(gate, values)
    if spread is None:
        return known
    metric, alpha = metric_of(gate.metric), alpha_of_look(look.looks, look.gates, last=look.last)
    middle = aggregate_values(metric.aggregate, values)
    low, high = (float(spread.widened(np.asarray(end), alpha)) for end in (middle - known.low, known.high - middle))
    sd = float(spread.spread())
    about = f"{sd:.1f} pp" if metric.in_points else f"{figure_words(sd)} {metric.unit}"
    method = f"{known.method}; includes the spread between {spread.count} stored sessions, about {about}"
    return Interval(low=middle - low, high=middle + high, method=method)


def interval_of(gate: Gate, values: Sequence[float], look: Look) -> Interval | None:
    """The interval of the metric's aggregate, without what the definition excludes: below 0, balance above 100 %.

    For a limit gate with stored sessions, it includes the spread between sessions: the limit is for the deployment.

    Values that repeat are known to half a step only (see `judge.stats.resolution`), even if all are equal: rounds that
    all read as the limit may be on either side of it. They meet it at the end of what the metric can be (100 %, no time
    at all), and if they are given to all digits.
    """
    if bets(gate):
        return betting_interval(gate, values, look.gates)
    metric = metric_of(gate.metric)
    known = interval(metric.aggregate, values, looks=look.looks, gates=look.gates, last=look.last, shape=metric.shape)
    if known is None or metric.aggregate is Aggregate.RATE:
        return known and _within(metric, known.low, known.high, known.method)
    known = _charged(gate, values, look, known)
    half = step_of(values) / 2
    if metric.aggregate is Aggregate.CV:
        half *= 100 / mean(values)
    elif all(nearly(value, gate.limit) for value in (*values, known.low, known.high)) and (
        gate.limit in (0.0, metric.ceiling) or nearly(gate.limit + half, gate.limit)
    ):
        return replace(known, low=gate.limit, high=gate.limit)
    method = f"{known.method}; values that repeat are known to {step_of(values):g} only" if half else known.method
    return _within(metric, known.low - half, known.high + half, method)


def strength(gate: Gate, values: Sequence[float], known: Interval) -> tuple[float | None, float | None]:
    """Effect size and power of a limit gate; None if the metric is no mean or median, or does not vary.

    The power is that for a true value worse than the limit by the metric's delta, not by what was observed: the power
    for the observed value says nothing that the interval does not (Hoenig and Heisey 2001).

    Args:
        gate: a gate with a limit.
        values: two or more.
        known: the interval that must be on the bad side for a `fail`.

    Returns:
        Distance from the limit in standard deviations of a round, negative on the bad side; percent.
    """
    metric = metric_of(gate.metric)
    if metric.aggregate not in (Aggregate.MEAN, Aggregate.MEDIAN):
        return None, None
    middle, sd = aggregate_values(metric.aggregate, values), sample_sd(values)
    if not varies(sd, middle):
        return None, None
    sign = 1 if gate.bound is Bound.MIN else -1
    margin = known.high - middle if gate.bound is Bound.MIN else middle - known.low
    matter = metric.delta if metric.in_points else metric.delta / 100 * abs(gate.limit)
    wider = MEDIAN_FACTOR if metric.aggregate is Aggregate.MEDIAN else 1.0
    error = wider * sd * math.sqrt(variance_inflation(values) / len(values))
    if (spread := charged_spread(gate, values)) is not None:
        error = math.hypot(error, float(spread.spread()))
    return sign * (middle - gate.limit) / sd, 100 * float(normal_tail((margin - matter) / error))


def _within(metric: Metric, low: float, high: float, method: str) -> Interval:
    """The part of an interval that the metric's definition allows."""
    ceiling = math.inf if metric.ceiling is None else metric.ceiling
    return Interval(low=max(low, 0.0), high=min(high, ceiling), method=method)


def _interval_verdict(undecided: Verdict, values: Sequence[float], look: Look, known: Interval | None) -> Verdict:
    """Interval against limit; with several gates, `fail` requires a wider one."""
    gate, metric = undecided.gate, metric_of(undecided.gate.metric)
    if known is None:
        return undecided
    least, unit = gate.bound is Bound.MIN, metric.unit
    low, high = (figure_words(end, gate.limit) for end in (known.low, known.high))
    text = f"the interval {low} to {high} {unit} ({known.method})"
    limit = f"the {gate.bound.word} {limit_words(gate.limit)} {unit}"
    below = "below" if least else "above"
    shared = known if look.gates == 1 else interval_of(gate, values, look) or known
    effect, power = strength(gate, values, shared)
    betting = bets(gate)
    verdict = replace(undecided, effect_size=effect, power_pct=None if betting else power)
    if known.low >= gate.limit if least else known.high <= gate.limit:
        return replace(verdict, outcome=Outcome.PASS, reason=f"{text} {'meets' if least else 'is within'} {limit}")
    if shared.high < gate.limit if least else shared.low > gate.limit:
        return replace(verdict, outcome=Outcome.FAIL, reason=f"{text} is {below} {limit}")
    if betting:
        needed = rounds_of(gate, values, look.gates)
        words = more_words(needed, len(values))
    else:
        needed = _rounds_needed(gate, values, look, shared)
        words = needed_words(needed)
        if needed is None and charged_spread(gate, values) is not None:
            words = "more rounds cannot decide this: sessions differ by too much for a value this near the limit"
    beyond = known.high < gate.limit if least else known.low > gate.limit
    correction = f"but not significant after correcting for {look.gates} gates"
    against = f"is {below} {limit}, {correction}" if beyond else f"contains {limit}"
    return replace(verdict, reason=f"{text} {against}; {words}", rounds_needed=needed)


def _rounds_needed(gate: Gate, values: Sequence[float], look: Look, known: Interval) -> int | None:
    """About how many rounds would decide; None if none would, since the value is too near the limit."""
    aggregate, spread = metric_of(gate.metric).aggregate, charged_spread(gate, values)
    if spread is None:
        charge = None
    else:
        alpha = alpha_of_look(look.looks, look.gates)
        known = interval_of(replace(gate, reference=()), values, look) or known

        def charge(half: float) -> float:
            return float(spread.widened(np.asarray(half), alpha))

    return rounds_to_decide(
        aggregate, values, gate.limit, looks=look.looks, gates=look.gates, known=known, charge=charge
    )


def _share_verdict(undecided: Verdict, values: Sequence[float], look: Look, _: Interval | None) -> Verdict:
    """Contended rounds against the share that the limit allows."""
    limit, count, n = undecided.gate.limit, round(sum(values)), len(values)
    alpha, shared = (alpha_of_look(look.looks, gates, last=look.last) for gates in (1, look.gates))
    text = f"{count} of {rounds_words(n)} contended"
    allowed = count <= math.floor(limit * n + 1e-9)  # 0.29 of 100 is 29, whatever floats say
    if allowed and count > 0 and not look.last:
        # A pass at the first moment when the count allows it would be a pass by luck.
        return replace(undecided, reason=f"{text}, within the allowed {100 * limit:g} %; running more rounds")
    if allowed:
        excluded_pct = 100 * beta_quantile(1 - alpha, count + 1, n - count) if count < n else 100.0
        reason = f"{text}; rates above {excluded_pct:.0f} % are excluded (one-sided)"
        return replace(undecided, outcome=Outcome.PASS, reason=reason)
    if rate_interval(count, n, shared).low > limit:
        reason = f"{text}, significantly more than the maximum {100 * limit:g} %"
        return replace(undecided, outcome=Outcome.FAIL, reason=reason)
    needed = first_rounds(lambda rounds: rate_interval(count * rounds // n, rounds, shared).low > limit, n + 1)
    reason = f"{text}, the maximum is {100 * limit:g} %; {needed_words(needed)}"
    return replace(undecided, reason=reason, rounds_needed=needed)


def _peak_verdict(undecided: Verdict, values: Sequence[float], _: Look, __: Interval | None) -> Verdict:
    """The largest round against the limit; nothing is concluded for other rounds."""
    limit, unit = undecided.gate.limit, metric_of(undecided.gate.metric).unit
    over, rounds = sum(above(value, limit) for value in values), rounds_words(len(values))
    if over:
        reason = f"{over} of {rounds} above the maximum {limit_words(limit)} {unit}"
        return replace(undecided, outcome=Outcome.FAIL, reason=reason)
    largest = f"the maximum over {rounds}, {figure_words(max(values), limit)} {unit},"
    reason = f"{largest} is within the limit of {limit_words(limit)} {unit}"
    return replace(undecided, outcome=Outcome.PASS, reason=reason)


INTERVAL_RULE, SHARE_RULE, PEAK_RULE = "interval 2", "share 1", "maximum 1"
"""Names and versions of the rules of limit gates, see `judge.regression.stored_sessions.RULE`."""

LIMIT_RULES: Mapping[Aggregate, tuple[str, Callable[[Verdict, Sequence[float], Look, Interval | None], Verdict]]] = {
    Aggregate.MEAN: (INTERVAL_RULE, _interval_verdict),
    Aggregate.MEDIAN: (INTERVAL_RULE, _interval_verdict),
    Aggregate.CV: (INTERVAL_RULE, _interval_verdict),
    Aggregate.RATE: (SHARE_RULE, _share_verdict),
    Aggregate.MAX: (PEAK_RULE, _peak_verdict),
}
"""How a limit gate is judged, by its metric's aggregate: the rule's name, and what decides the undecided verdict."""


def limit_rule(gate: Gate) -> str:
    """Name and version of the rule that judges a limit gate."""
    return BETTING_RULE if bets(gate) else LIMIT_RULES[metric_of(gate.metric).aggregate][0]


def limit_verdict(undecided: Verdict, values: Sequence[float], look: Look, known: Interval | None) -> Verdict:
    """The verdict of a limit gate: by its interval if it bets, else by the rule of its aggregate."""
    if bets(undecided.gate):
        return _interval_verdict(undecided, values, look, known)
    return LIMIT_RULES[metric_of(undecided.gate.metric).aggregate][1](undecided, values, look, known)


def about_session(verdict: Verdict) -> bool:
    """Whether the verdict on a limit holds for this session only, because too few stored sessions are comparable."""
    decided = verdict.outcome in (Outcome.PASS, Outcome.FAIL) and verdict.rule == INTERVAL_RULE
    return decided and len(verdict.gate.reference) < SESSIONS_FOR_SPREAD
