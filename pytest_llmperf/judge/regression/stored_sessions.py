"""How much worse than the stored sessions: the drop, and how far chance may move it.

Like is compared with like: of each stored session the first n rounds, when there are n new ones. Stored sessions then
do what this one does, and the scatter of their centres holds everything that moves a session as a whole (spread between
sessions) or within (noise, autocorrelation, drift), without a model of any of it. At equal length the test is Student's
with as many degrees of freedom as there are sessions less one.

Where this session has more rounds than the stored ones, its centre scatters less than theirs, by the difference of
what the noise within makes of both lengths. The spread between sessions is then what remains of the scatter of centres
without the noise within, at least 0, and uncertain as chi-square says: the mixture in `Doubt`. Positive autocorrelation
makes that difference too small, which is the safe side.

With fewer than SESSIONS_FOR_SPREAD sessions the spread between them is assumed: ASSUMED_SPREAD_PP or
ASSUMED_SPREAD_PCT, or what was observed, if that is more.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.regression.decision_rule import Drop, Looking, judge_drop, outcome_of
from pytest_llmperf.judge.regression.effect_scale import Scale, scale_of
from pytest_llmperf.judge.regression.null_distribution import Doubt
from pytest_llmperf.judge.regression.sampling_variance import (
    MeanScatter,
    Scatter,
    freedom_of,
    mean_scatter,
    median_scatter,
)
from pytest_llmperf.judge.stats.autocorrelation import charge
from pytest_llmperf.judge.stats.confidence_intervals import first_rounds
from pytest_llmperf.judge.stats.distributions import beta_cdf, chi2_nodes, t_quantile
from pytest_llmperf.judge.stats.resolution import step_of
from pytest_llmperf.judge.stats.summary import Aggregate, centre, check_finite
from pytest_llmperf.model import Bound, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

ASSUMED_SPREAD_PP = 1.2
"""Assumed standard deviation between sessions of percentages of ratio class, in points."""

ASSUMED_SPREAD_PCT = 5.0
"""Assumed standard deviation between sessions of every other metric, percent of the baseline."""

SESSIONS_FOR_SPREAD = 4
"""From so many stored sessions on their spread is taken from them."""

MOST_SESSIONS = 200
"""Where the search for the number of sessions that would decide gives up."""

NOISIER = 0.1
"""New rounds whose variance is above that of the stored ones with less probability than this are charged their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What stored sessions say of the doubt, on the scale of badness.

    Attributes:
        lengths: rounds of each session.
        centres_variance: of the sessions' centres; 0 of one session.
        scatter: of the centre of n rounds of one session.
        freedom: degrees of freedom of `scatter`.
        assumed: spread between sessions that is assumed, a standard deviation.
        excess: variance of a new round above that of a stored one, where it is beyond doubt.
        autocorrelation_charge: of the scatter, where the spread is assumed.
        rounding: variance of the difference of centres, since values are known to some decimal only.
    """

    lengths: tuple[int, ...]
    centres_variance: float
    scatter: Scatter
    freedom: int
    assumed: float
    excess: float = 0.0
    autocorrelation_charge: float = 1.0
    rounding: float = 0.0

    def within(self) -> float:
        """What the noise within adds to the variance of the sessions' centres."""
        return statistics.fmean(self.scatter.variance(length) for length in self.lengths)

    def spread(self) -> float:
        """The spread between sessions, by the plain estimate, at least 0."""
        return math.sqrt(max(self.centres_variance - self.within(), 0.0))

    def doubt(self, n: int, sessions: int | None = None) -> Doubt:
        """Of the centre of n new rounds less the mean of the sessions' centres, were there so many sessions."""
        count, within = sessions or len(self.lengths), self.within()
        noise = self.scatter.variance(n) + within / count + self.excess / n
        both = 1 + 1 / count
        if len(self.lengths) >= SESSIONS_FOR_SPREAD:
            scaled = self.centres_variance * (count - 1)
            noise += self.rounding
            nodes = tuple((w, both * max(scaled / x - within, 0.0) + noise) for x, w in chi2_nodes(count - 1))
            between = self.spread() ** 2
        else:
            noise *= self.autocorrelation_charge
            between = max(self.assumed**2, self.centres_variance)
            fixed = both * between + self.rounding
            nodes = tuple((w, fixed + noise * self.freedom / x) for x, w in chi2_nodes(self.freedom))
            noise += self.rounding
        third = self.scatter.third(n) - statistics.fmean(map(self.scatter.third, self.lengths)) / count**2
        return Doubt(nodes=nodes, third=third, typical=both * between + noise, rounding=self.rounding)


def reference_centre(aggregate: Aggregate, sessions: Sequence[Sequence[float]]) -> float:
    """The stored sessions' centre: the mean of each session's own, so that long sessions do not drown short ones.

    Args:
        aggregate: of the metric.
        sessions: one or more, each with one value a round.

    Raises:
        MeasurementError: no session, an empty one, or a value that is not finite.
    """
    if not sessions:
        raise MeasurementError("the stored baseline has no session")
    return statistics.fmean(centre(aggregate, values) for values in sessions)


def drop_of(
    *,
    aggregate: Aggregate,
    bound: Bound,
    in_points: bool,
    base: float,
    delta: float,
    sessions: Sequence[Sequence[float]],
    values: Sequence[float],
    looking: Looking,
) -> StoredDrop | None:
    """The drop from the stored sessions to the new rounds.

    Args:
        aggregate: mean or median.
        bound: which side is good.
        in_points: state it in the metric's own points, else in percent of `base`.
        base: the stored baseline's centre.
        delta: the smallest change that matters.
        sessions: the stored rounds' values, one sequence a session.
        values: the new rounds' values.
        looking: which look this is.

    Returns:
        None when a spread cannot be known: one new round, or stored sessions of one round each.

    Raises:
        MeasurementError: no session, a value that is not finite, or a base of 0 of which percent are asked for.
    """
    check_finite((base, *values))
    for stored in sessions:
        check_finite(stored)
    n = len(values)
    every = [*values, *(value for stored in sessions for value in stored)]
    scale = scale_of(bound=bound, in_points=in_points, base=base, delta=delta, values=every)
    new, old = scale.badness(values), [scale.badness(stored[:n]) for stored in sessions]
    known = stored_of(aggregate, old, new, assumed=scale.shift(ASSUMED_SPREAD_PP if in_points else ASSUMED_SPREAD_PCT))
    if known is None:
        return None
    known = replace(known, rounding=_rounding(aggregate, scale, [stored[:n] for stored in sessions], values))
    shift = centre(aggregate, new) - statistics.fmean(centre(aggregate, stored) for stored in old)
    drop = judge_drop(
        known.doubt,
        rounds=n,
        shift=shift,
        scale=scale,
        delta=delta,
        looking=looking,
        round_sd=math.sqrt(known.scatter.variance(1)),
    )
    count, more = len(sessions), None
    if count < SESSIONS_FOR_SPREAD:
        spread = f"{_sessions(count)}: a spread between sessions assumed, save {SESSIONS_FOR_SPREAD - count} more "
        return StoredDrop(drop=drop, spread=f"{spread}to have it measured", sessions_needed=SESSIONS_FOR_SPREAD)
    if drop.outcome is Outcome.INCONCLUSIVE:
        final = replace(looking, last=True)

        def decided(many: int) -> bool:
            return outcome_of(known.doubt(n, many), shift, scale, delta, final)[0] is not Outcome.INCONCLUSIVE

        more = first_rounds(decided, count + 1, MOST_SESSIONS)
    between = scale.change(known.spread())
    return StoredDrop(
        drop=drop,
        spread=f"includes the spread between {count} stored sessions, about {between:.1f} {scale.unit}",
        sessions_needed=more,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDrop:
    """A drop from stored sessions.

    Attributes:
        drop: see Drop.
        spread: where the spread between sessions came from, in words.
        sessions_needed: stored in all, that would decide, were all else to stay; None: decided, or no number would.
    """

    drop: Drop
    spread: str
    sessions_needed: int | None


def stored_of(
    aggregate: Aggregate, sessions: Sequence[Sequence[float]], values: Sequence[float], *, assumed: float
) -> Stored | None:
    """What is known from stored sessions and new rounds, all on the scale of badness; None: no spread."""
    every = [*sessions, values]
    scatter: Scatter | None = (mean_scatter if aggregate is Aggregate.MEAN else median_scatter)(every)
    few = len(sessions) < SESSIONS_FOR_SPREAD
    if scatter is None or len(values) < 2 or (few and freedom_of(sessions) < 1):
        return None
    centres = [centre(aggregate, stored) for stored in sessions]
    return Stored(
        lengths=tuple(map(len, sessions)),
        centres_variance=statistics.variance(centres) if len(centres) > 1 else 0.0,
        scatter=scatter,
        freedom=freedom_of(every),
        assumed=assumed,
        excess=_excess(scatter, sessions, values),
        autocorrelation_charge=charge(values),
    )


def _rounding(
    aggregate: Aggregate, scale: Scale, sessions: Sequence[Sequence[float]], values: Sequence[float]
) -> float:
    """What the rounding of both sides' values adds to the variance of the difference, on the scale."""
    pooled = [value for stored in sessions for value in stored]
    old = scale.rounding(step_of(pooled), reference_centre(aggregate, sessions))
    return old + scale.rounding(step_of(values), centre(aggregate, values))


def _excess(scatter: Scatter, sessions: Sequence[Sequence[float]], values: Sequence[float]) -> float:
    """How much more the new rounds scatter than all together, where they are noisier than the stored beyond doubt."""
    stored, new = mean_scatter(sessions), mean_scatter([values])
    if stored is None or new is None or not isinstance(scatter, MeanScatter) or new.one <= stored.one:
        return 0.0
    above, below = len(values) - 1, freedom_of(sessions)
    # P(F > new / stored), by the beta function; 0 / 0 cannot be, for new is the larger.
    tail = beta_cdf(below / 2, above / 2, below * stored.one / (below * stored.one + above * new.one))
    return few_rounds(len(values)) * new.one - scatter.one if tail < NOISIER else 0.0


def few_rounds(n: int) -> float:
    """By how much a variance known from n rounds only counts for more, to make a normal's tail at 0.5 % Student's."""
    return (t_quantile(0.995, n - 1) / t_quantile(0.995, math.inf)) ** 2


def _sessions(count: int) -> str:
    """`1 stored session`, `3 stored sessions`."""
    return f"{count} stored session{'' if count == 1 else 's'}"
