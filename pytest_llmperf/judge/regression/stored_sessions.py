"""The change from stored sessions: how much worse this session is, and how far chance may move that.

Like is compared with like: of each stored session the first n rounds, for n new rounds. Stored sessions then did what
this one does, and the variance of their centres includes all that moves a session as a whole (spread between sessions)
or within (noise, autocorrelation, drift), without a model of any of it. At equal length the test is Student's with as
many degrees of freedom as there are sessions less one.

If this session has more rounds than the stored ones, its centre varies less than theirs, by the difference of the
sampling variances at both lengths. The spread between sessions is then the variance of the centres without the sampling
variance, at least 0, and as uncertain as chi-square says: the mixture in `NullDistribution`. Positive autocorrelation
makes that difference too small, which is the safe side.

With fewer than SESSIONS_FOR_SPREAD sessions the spread between them is assumed: ASSUMED_SPREAD_PP or
ASSUMED_SPREAD_PCT, or what was observed, if that is more.

Arrays have any number of leading batch axes, one element for each run; a gate's run has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.judge.regression.effect_scale import Scale
from pytest_llmperf.judge.regression.null_distribution import NullDistribution
from pytest_llmperf.judge.regression.sampling_variance import (
    MeanVariance,
    SamplingVariance,
    centres_of,
    rounding_variance,
    sampling_variance,
)
from pytest_llmperf.judge.regression.shared_drift import Slopes, share_drift
from pytest_llmperf.judge.stats.autocorrelation import variance_inflation
from pytest_llmperf.judge.stats.distributions import beta_quantile, chi2_nodes, t_quantile
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.row_statistics import exact_row_means, row_variances
from pytest_llmperf.judge.stats.summary import Aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pytest_llmperf.judge.stats.row_statistics import Array

RULE = "stored 3"
"""Name and version of this rule. The version rises with every change that may change a verdict, as for every rule."""

ASSUMED_SPREAD_PP = 1.2
"""Assumed standard deviation between sessions of percentages of ratio class, in points."""

ASSUMED_SPREAD_PCT = 5.0
"""Assumed standard deviation between sessions of every other metric, percent of the baseline."""

SESSIONS_FOR_SPREAD = 4
"""The least number of stored sessions from which their spread is estimated."""

NOISIER = 0.1
"""New rounds count as noisier if an F test says so with this error; then they are judged by their own variance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRounds:
    """What the rule needs to know of the stored sessions, each cut to the number of new rounds; values are losses.

    Attributes:
        lengths: the number of sessions by their number of rounds.
        centre: mean of the sessions' centres.
        centres_variance: sample variance of the sessions' centres; 0 for one session.
        sampling: the sampling variance of the rounds of these sessions.
        rounding: the variance of `centre` that is caused by the rounding of stored values.
        slopes: the slopes of the rounds within the sessions.
    """

    lengths: Mapping[int, int]
    centre: Array
    centres_variance: Array
    sampling: SamplingVariance
    rounding: Array
    slopes: Slopes

    @property
    def count(self) -> int:
        """The number of sessions."""
        return sum(self.lengths.values())

    @classmethod
    def of(cls, aggregate: Aggregate, scale: Scale, groups: Sequence[Array]) -> StoredRounds:
        """From values in the metric's unit: for each length an array of shape (..., sessions, rounds)."""
        losses = [scale.to_loss(group) for group in groups]
        centres = np.concatenate([centres_of(aggregate, group) for group in losses], axis=-1)
        return cls(
            lengths={group.shape[-1]: group.shape[-2] for group in groups},
            centre=exact_row_means(centres),
            centres_variance=row_variances(centres) if centres.shape[-1] > 1 else np.zeros(centres.shape[:-1]),
            sampling=sampling_variance(aggregate, losses),
            rounding=rounding_variance(aggregate, scale, groups),
            slopes=Slopes.of(losses),
        )

    def drifts_with(self, losses: Array) -> NDArray[np.bool_]:
        """Whether new rounds, shape (..., rounds), are more than the stored ones, and both drift alike."""
        if not 1 < max(self.lengths) < losses.shape[-1]:
            return np.zeros(losses.shape[:-1], dtype=bool)
        return share_drift(self.slopes, losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryModel:
    """Stored sessions and new rounds, as losses: the change, and what the rule needs for its null distribution.

    Attributes:
        stored: see StoredRounds.
        sampling: the sampling variance of all rounds, stored and new.
        shift: this session's centre minus the stored sessions' centre; positive is worse.
        assumed: the standard deviation between sessions that is assumed if there are few sessions.
        excess: excess variance of a new round over any round, if the new rounds are significantly noisier.
        inflation: variance inflation of the new rounds' centre by autocorrelation; applied if the spread is assumed.
        rounding: variance of the shift that is caused by the rounding of values.
    """

    stored: StoredRounds
    sampling: SamplingVariance
    shift: Array
    assumed: float
    excess: Array
    inflation: Array
    rounding: Array

    @classmethod
    def of(
        cls, aggregate: Aggregate, scale: Scale, stored: StoredRounds, values: Array, *, assumed: float
    ) -> HistoryModel | None:
        """Stored sessions and the values of new rounds, shape (..., rounds), in the metric's unit.

        None if no variance can be estimated: one new round, or few stored sessions, of one round each.
        """
        few = stored.count < SESSIONS_FOR_SPREAD
        if values.shape[-1] < 2 or (few and stored.sampling.freedom < 1):
            return None
        losses, group = scale.to_loss(values), values[..., None, :]
        sampling = stored.sampling.plus(losses[..., None, :])
        return cls(
            stored=stored,
            sampling=sampling,
            shift=centres_of(aggregate, losses) - stored.centre,
            assumed=assumed,
            excess=_excess(stored.sampling, sampling, losses),
            inflation=variance_inflation(losses),
            rounding=stored.rounding + rounding_variance(aggregate, scale, [group]),
        )

    def moments_within(self) -> tuple[Array, Array]:
        """Sampling variance and third cumulant of stored sessions' centres, the mean over the sessions."""
        lengths = self.stored.lengths
        moments = [self.sampling.moments(length) for length in lengths]
        variance, third = (
            sum(weight * part for weight, part in zip(lengths.values(), parts, strict=True)) / self.stored.count
            for parts in zip(*moments, strict=True)
        )
        return variance, third

    def spread(self) -> Array:
        """The spread between sessions, by the plain estimate, at least 0."""
        return np.sqrt(np.maximum(self.stored.centres_variance - self.moments_within()[0], 0.0))

    def null_distribution(self, n: int, sessions: int | None = None) -> NullDistribution:
        """The null distribution of the centre of n new rounds less the stored centre, with as many stored sessions."""
        count, (within, third_within) = sessions or self.stored.count, self.moments_within()
        variance, third = self.sampling.moments(n)
        noise = variance + within / count + self.excess / n
        both = 1 + 1 / count
        if self.stored.count >= SESSIONS_FOR_SPREAD:
            scaled = self.stored.centres_variance * (count - 1)
            noise = noise + self.rounding
            x, weights = chi2_nodes(count - 1)
            between = np.maximum(scaled[..., None] / x - within[..., None], 0.0)
            variances = both * between + noise[..., None]
            typical = both * np.maximum(self.stored.centres_variance - within, 0.0) + noise
        else:
            noise = noise * self.inflation
            fixed = both * np.maximum(self.assumed**2, self.stored.centres_variance) + self.rounding
            x, weights = chi2_nodes(self.sampling.freedom)
            variances = fixed[..., None] + noise[..., None] * (self.sampling.freedom / x)
            typical = fixed + noise
        return NullDistribution(
            weights=weights,
            variances=variances,
            third=third - third_within / count**2,
            typical=typical,
            rounding=self.rounding,
        )


def few_rounds(n: int) -> float:
    """The factor for a variance estimated from n rounds that makes a normal's tail at 0.5 % that of Student's t."""
    return (t_quantile(0.995, n - 1) / t_quantile(0.995, math.inf)) ** 2


def _excess(stored: SamplingVariance, pooled: SamplingVariance, losses: Array) -> Array:
    """The variance of a new round above that of any round, if the new rounds are significantly noisier; else 0."""
    if not isinstance(stored, MeanVariance) or stored.freedom < 1:
        return np.zeros(())
    n, before, now, any_round = losses.shape[-1], stored.moments(1)[0], row_variances(losses), pooled.moments(1)[0]
    if not (now > before).any():
        return np.zeros(())
    # P(F > r) is the beta distribution below this share.
    share = beta_quantile(NOISIER, stored.freedom / 2, (n - 1) / 2)
    critical_ratio = stored.freedom * (1 - share) / ((n - 1) * share)
    noisier = (now > before) & (now > critical_ratio * before)
    if not noisier.any():
        return np.zeros(())
    return np.where(noisier, few_rounds(n) * now - any_round, 0.0)
