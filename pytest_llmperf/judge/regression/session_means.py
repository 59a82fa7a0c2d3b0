"""The change between two sets of sessions, by the centres of whole sessions: a two-sample test of unequal variances.

The variance of each side's centres includes all that moves a session as a whole or within, and each side has its own:
the variance of the difference is the sum of two, each as uncertain as chi-square says. Averaging the normal's tail over
both is the generalized p-value for the problem of Behrens and Fisher (Tsui and Weerahandi 1989). It raises no more
false alarms than promised; Welch's t, which approximates it, raises 1.6 % instead of 1 with 4 against 20 sessions.
Sessions of both sides are cut to the length of the shortest, so that a drift within sessions cancels.

Each side needs SESSIONS_FOR_SPREAD sessions. Arrays have any number of leading batch axes, one element for each run; a
single comparison has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llmperf.judge.regression.decision_rule import Look, estimate_change, outcome_of
from pytest_llmperf.judge.regression.effect_scale import scale_of
from pytest_llmperf.judge.regression.null_distribution import NullDistribution
from pytest_llmperf.judge.regression.sampling_variance import centres_of, rounding_variance, sampling_variance
from pytest_llmperf.judge.regression.stored_change import MOST_SESSIONS, StoredChange
from pytest_llmperf.judge.regression.stored_sessions import SESSIONS_FOR_SPREAD
from pytest_llmperf.judge.stats.distributions import chi2_nodes
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.roots import first_rounds
from pytest_llmperf.judge.stats.row_statistics import row_means, row_variances
from pytest_llmperf.judge.stats.summary import MIN_ROUNDS, Aggregate, check_finite
from pytest_llmperf.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pytest_llmperf.judge.regression.effect_scale import Scale
    from pytest_llmperf.judge.stats.row_statistics import Array
    from pytest_llmperf.model import Bound

RULE = "session means 2"
"""Name and version of this rule, see `stored_sessions.RULE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """The sessions of one side, as losses.

    Attributes:
        count: the number of sessions.
        centre: the mean of their centres.
        variance: the variance of `centre`, estimated from the scatter of the centres.
        third: the third cumulant of `centre` that comes from rounds, which are skewed.
        rounding: the variance of `centre` because values are rounded.
    """

    count: int
    centre: Array
    variance: Array
    third: Array
    rounding: Array

    @classmethod
    def of(cls, aggregate: Aggregate, scale: Scale, values: Array) -> _Side:
        """From values in the metric's unit, shape (..., sessions, rounds)."""
        losses, (count, rounds) = scale.to_loss(values), values.shape[-2:]
        centres = centres_of(aggregate, losses)
        return cls(
            count=count,
            centre=row_means(centres),
            variance=row_variances(centres) / count,
            third=sampling_variance(aggregate, [losses]).moments(rounds)[1] / count**2,
            rounding=rounding_variance(aggregate, scale, [values]),
        )

    def extended(self, count: int) -> _Side:
        """This side with `count` sessions of the same variance; unchanged if it already has them."""
        if count <= self.count:
            return self
        share = self.count / count
        return replace(self, count=count, variance=self.variance * share, third=self.third * share**2)


class _TwoVariances(NullDistribution):
    """A mixture over two uncertain variances, whose nodes are in no order: there is no cheap test before the tails."""

    def may_exceed(self, distance: Array, error: float) -> NDArray[np.bool_]:
        """Always: the exact tails decide."""
        return np.ones(np.broadcast_shapes(np.shape(distance), np.shape(error)), dtype=bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMeansModel:
    """Two sets of sessions: the change, and what the rule needs for its null distribution.

    Attributes:
        shift: the candidate's centre less the standard's, as losses; positive is worse.
        standard, candidate: the sides.
    """

    shift: Array
    standard: _Side
    candidate: _Side

    @classmethod
    def of(cls, aggregate: Aggregate, scale: Scale, standard: Array, candidate: Array) -> SessionMeansModel:
        """From values in the metric's unit, shape (..., sessions, rounds), with as many rounds on each side."""
        first, second = (_Side.of(aggregate, scale, values) for values in (standard, candidate))
        return cls(shift=second.centre - first.centre, standard=first, candidate=second)

    def null_distribution(self, fewest: int = 0) -> NullDistribution:
        """The distribution of the shift if nothing has changed.

        Args:
            fewest: the minimum number of sessions on each side; missing sessions are assumed to vary like the others.
        """
        sides = [side.extended(fewest) for side in (self.standard, self.candidate)]
        (x, weights), (y, other_weights) = (_nodes(side.count - 1) for side in sides)
        scaled, other_scaled = (side.variance * (side.count - 1) for side in sides)
        rounding = self.standard.rounding + self.candidate.rounding
        third = sides[1].third - sides[0].third
        variances = scaled[..., None, None] / x[:, None] + other_scaled[..., None, None] / y
        return _TwoVariances(
            weights=(weights[:, None] * other_weights).ravel(),
            variances=variances.reshape(*variances.shape[:-2], -1) + rounding[..., None],
            third=third,
            typical=sides[0].variance + sides[1].variance + rounding,
            rounding=rounding,
        )


def _nodes(df: int) -> tuple[Array, Array]:
    """Every other node of `chi2_nodes`: two sides multiply theirs, and the tails still agree to 1e-3 of them."""
    x, weights = (part[::2] for part in chi2_nodes(df))
    return x, weights / weights.sum()


def change_of_means(
    *,
    aggregate: Aggregate,
    bound: Bound,
    base: float | None,
    delta: float,
    standard: Sequence[Sequence[float]],
    candidate: Sequence[Sequence[float]],
    gates: int,
) -> StoredChange | None:
    """The change from the standard's sessions to the candidate's, judged once.

    Args:
        aggregate: mean or median.
        bound: which side is good.
        base: the standard's centre, that changes are percentages of; None: in the metric's own points.
        delta: the smallest change that matters.
        standard: the rounds' values, one sequence a session.
        candidate: likewise.
        gates: number of gates that share the error of `fail`.

    Returns:
        None if `common_rounds` is.

    Raises:
        MeasurementError: a value that is not finite, or changes in percent of a base of 0.
    """
    rounds = common_rounds(standard, candidate)
    if rounds is None:
        return None
    both = [np.array([session[:rounds] for session in side], dtype=float) for side in (standard, candidate)]
    for values in both:
        check_finite(values.ravel().tolist())
    least = min(float(values.min()) for values in both)
    scale = scale_of(bound=bound, base=base, delta=delta, least=least)
    model = SessionMeansModel.of(aggregate, scale, *both)
    null, shift = model.null_distribution(), float(model.shift)
    variance = sampling_variance(aggregate, [scale.to_loss(values) for values in both]).moments(1)[0]
    look, needed = Look(looks=1, last=True, gates=gates), None
    change = estimate_change(
        lambda _: null, rounds=rounds, shift=shift, scale=scale, delta=delta, look=look, round_sd=math.sqrt(variance)
    )
    counts = [len(side) for side in (standard, candidate)]
    if change.outcome is Outcome.INCONCLUSIVE:

        def decided(sessions: int) -> bool:
            outcome, _ = outcome_of(model.null_distribution(sessions), shift, scale, delta, look)
            return outcome is not Outcome.INCONCLUSIVE

        needed = first_rounds(decided, min(counts) + 1, MOST_SESSIONS)
    words = f"{counts[1]} sessions against {counts[0]}"
    return StoredChange(change=change, spread=words, sessions_needed=needed)


def common_rounds(standard: Sequence[Sequence[float]], candidate: Sequence[Sequence[float]]) -> int | None:
    """The number of rounds that every session has; None if the means of sessions are not the better comparison.

    That is so with fewer than SESSIONS_FOR_SPREAD sessions on a side, fewer than MIN_ROUNDS rounds in a session, and
    fewer than half as many sessions of the candidate as of the standard: its own scatter is known too badly then.
    """
    if min(len(standard), len(candidate)) < SESSIONS_FOR_SPREAD or 2 * len(candidate) < len(standard):
        return None
    rounds = min(map(len, (*standard, *candidate)))
    return rounds if rounds >= MIN_ROUNDS else None
