"""Gates on single requests: percentiles, and goodput, the share of requests that keep every stated limit.

"The 95th percentile is at most L" is the same as "at most 5 % of the requests are above L", so both are judged by the
interval of a share of requests (`judge.stats.requests.share_of_requests`), or by betting on the share of each round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from pytest_llmperf.judge.gates.evidence_grade import grade
from pytest_llmperf.judge.gates.reasons import limit_words, needed_words, rounds_words
from pytest_llmperf.judge.gates.robust.betting_gates import bets
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.metrics.requests import request_values
from pytest_llmperf.judge.stats.betting import BETTING_RULE, mean_interval, rounds_to_refute
from pytest_llmperf.judge.stats.confidence_intervals import CONFIDENCE_PCT, Interval, alpha_of_look
from pytest_llmperf.judge.stats.requests.share_of_requests import effective_counts, excluded, share_interval
from pytest_llmperf.judge.stats.resolution import above
from pytest_llmperf.judge.stats.roots import first_rounds
from pytest_llmperf.judge.stats.summary import MIN_ROUNDS
from pytest_llmperf.model import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llmperf.judge.regression.decision_rule import Look
    from pytest_llmperf.model import Gate, Measurement

REQUESTS_RULE = "requests 1"
"""Name and version of the rule, see `judge.regression.stored_sessions.RULE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRequests:
    """Bad requests, or gaps, by round, and the share of them that the gate allows.

    Attributes:
        bad, all_: by round.
        allowed: the largest share.
        look: at them.
        betting: whether the gate is decided by betting.
    """

    bad: tuple[int, ...]
    all_: tuple[int, ...]
    allowed: float
    look: Look
    betting: bool

    def interval(self, gates: int = 1) -> Interval:
        """The interval of the share, at this look."""
        if self.betting:
            return mean_interval([bad / all_ for bad, all_ in zip(self.bad, self.all_, strict=True)], 1.0, gates=gates)
        return share_interval(self.bad, self.all_, alpha_of_look(self.look.looks, gates, last=self.look.last))

    def outcome(self) -> Outcome:
        """Pass if a larger share than allowed is excluded, fail if one that is allowed is."""
        if self.interval().high <= self.allowed:
            return Outcome.PASS
        return Outcome.FAIL if self.interval(self.look.gates).low > self.allowed else Outcome.INCONCLUSIVE

    def rounds_needed(self) -> int | None:
        """About how many rounds like these would decide; None: too many."""
        n, gates = len(self.bad), self.look.gates
        if self.betting:
            bad = [part / all_ for part, all_ in zip(self.bad, self.all_, strict=True)]
            good = [1 - share for share in bad]
            sides = rounds_to_refute(good, 1 - self.allowed), rounds_to_refute(bad, self.allowed, gates=gates)
            return min((rounds for rounds in sides if rounds is not None), default=None)
        count, whole = (float(value) / n for value in effective_counts(self.bad, self.all_))
        passing, failing = (alpha_of_look(self.look.looks, number) for number in (1, gates))

        def decided(rounds: int) -> bool:
            below, _ = excluded(rounds * count, rounds * whole, self.allowed, passing)
            return below or excluded(rounds * count, rounds * whole, self.allowed, failing)[1]

        return first_rounds(decided, n + 1)


def judge_requests(gate: Gate, measurement: Measurement, look: Look) -> Verdict:
    """The verdict of a gate on single requests.

    Args:
        gate: on a percentile, or `goodput_share`.
        measurement: one or more rounds.
        look: at them.

    Raises:
        MeasurementError: the value of a request is undefined.
    """
    percentile = metric_of(gate.metric).percentile
    judged = _goodput if percentile is None else _percentile
    verdict = judged(gate, measurement, look)
    if gate.not_comparable:
        return replace(verdict, outcome=Outcome.NOT_COMPARABLE, reason=gate.not_comparable)
    if verdict.rounds < MIN_ROUNDS:
        few = f"{rounds_words(verdict.rounds)}; a verdict needs at least {MIN_ROUNDS}"
        return replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=few)
    return verdict


def _percentile(gate: Gate, measurement: Measurement, look: Look) -> Verdict:
    """By the share of values above the limit; the interval's ends are the values that have too many, or few enough."""
    metric = metric_of(gate.metric)
    quantity, percentile = gate.metric.partition("_")[0], metric.percentile or 0
    rounds = request_values.values_by_round(measurement, quantity)

    def beyond(limit: float) -> BadRequests:
        return _bad([[above(value, limit) for value in own] for own in rounds], 1 - percentile / 100, gate, look)

    at_limit = beyond(gate.limit)
    ordered = sorted(chain.from_iterable(rounds))
    low, high = _ends(sorted(set(ordered)), beyond) if len(rounds) > 1 else (0.0, None)
    outcome = at_limit.outcome() if len(rounds) > 1 else Outcome.INCONCLUSIVE
    if outcome is Outcome.PASS:
        high = gate.limit if high is None else min(high, gate.limit)
    elif high is not None:
        high = max(high, gate.limit)
    low = max(low, gate.limit) if outcome is Outcome.FAIL else min(low, gate.limit)
    things = "gaps" if quantity == "itl" else "requests"
    text = f"{sum(at_limit.bad)} of {len(ordered)} {things} above {limit_words(gate.limit)} {metric.unit}"
    late = request_values.upper_bounds_above(measurement, gate.limit) if quantity == "ttft" else 0
    if late and outcome is not Outcome.PASS:
        text += f" ({late} of these times are upper bounds: the first chunk was read together with later ones)"
    shown = None if high is None else _order_statistic(ordered, percentile)
    return _verdict(gate, at_limit, outcome, (shown, low, high), f"{text}; {_words(at_limit, outcome, things)}")


def _ends(values: Sequence[float], beyond: Callable[[float], BadRequests]) -> tuple[float, float | None]:
    """The interval of the percentile of two rounds or more: from 0 if no value is excluded, None if no value bounds it.

    Args:
        values: different ones, ascending.
        beyond: the requests above a value.
    """
    count = len(values)
    low = first_rounds(lambda k: beyond(values[k]).interval().low <= beyond(values[k]).allowed, 0, count - 1)
    high = first_rounds(lambda k: beyond(values[k]).interval().high <= beyond(values[k]).allowed, 0, count - 1)
    return values[low] if low else 0.0, None if high is None else values[high]


def _goodput(gate: Gate, measurement: Measurement, look: Look) -> Verdict:
    """By the share of requests that keep every limit."""
    kept = request_values.kept_by_round(measurement, gate.request_limits)
    bad = _bad([[not good for good in own] for own in kept], 1 - gate.limit, gate, look)
    outcome, total, good = Outcome.INCONCLUSIVE, sum(bad.all_), sum(bad.all_) - sum(bad.bad)
    low, high = 0.0, 1.0
    if len(kept) > 1:
        known, outcome = bad.interval(), bad.outcome()
        low, high = 1 - known.high, 1 - known.low
    limits = " and ".join(f"{limit.metric} {limit_words(limit.most)}" for limit in gate.request_limits)
    rates = request_values.good_tok_s(measurement, gate.request_limits)
    tok_s = f", {rates[0]:.1f} of {rates[1]:.1f} tok/s" if rates else ""
    text = f"{good} of {total} requests keep {limits}{tok_s}"
    return _verdict(gate, bad, outcome, (good / total, low, high), f"{text}; {_words(bad, outcome, 'requests')}")


def _bad(bad: Sequence[Sequence[bool]], allowed: float, gate: Gate, look: Look) -> BadRequests:
    return BadRequests(
        bad=tuple(map(sum, bad)), all_=tuple(map(len, bad)), allowed=allowed, look=look, betting=bets(gate)
    )


def _words(bad: BadRequests, outcome: Outcome, things: str) -> str:
    """What the share excludes, or how many rounds and requests would decide."""
    allowed = f"{100 * bad.allowed:.4g} %"
    if len(bad.bad) < 2:
        return f"{allowed} may be"
    known = bad.interval(bad.look.gates if outcome is Outcome.FAIL else 1)
    if outcome is Outcome.PASS:
        return f"at most {_pct(known.high)} % are bad, {allowed} may be ({known.method})"
    if outcome is Outcome.FAIL:
        return f"at least {_pct(known.low)} % are bad, {allowed} may be ({known.method})"
    needed = bad.rounds_needed()
    each = sum(bad.all_) / len(bad.all_)
    words = needed_words(needed) + (f" ({round(needed * each)} {things})" if needed else "")
    return f"{_pct(known.low)} to {_pct(known.high)} % are bad, {allowed} may be ({known.method}); {words}"


def _pct(share: float) -> str:
    """A share in percent, for a sentence."""
    return f"{100 * share:.3g}" if share > 0.0001 else "0"


def _verdict(
    gate: Gate, bad: BadRequests, outcome: Outcome, figures: tuple[float | None, float, float | None], reason: str
) -> Verdict:
    value, low, high = figures
    rounds = len(bad.bad)
    return Verdict(
        gate=gate,
        outcome=outcome,
        value=value,
        low=low,
        high=high,
        confidence_pct=CONFIDENCE_PCT,
        rounds=rounds,
        grade=grade(rounds),
        reason=reason,
        gates=bad.look.gates,
        rounds_needed=bad.rounds_needed() if outcome is Outcome.INCONCLUSIVE and rounds > 1 else None,
        rule=BETTING_RULE if bad.betting else REQUESTS_RULE,
    )


def _order_statistic(ordered: Sequence[float], percentile: int) -> float:
    """The percentile of sorted values: the smallest that at most the rest is above."""
    return ordered[-(-len(ordered) * percentile // 100) - 1]
