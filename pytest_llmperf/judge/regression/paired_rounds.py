"""Interleaved comparison: incumbent and candidate take turns in one session and are judged by differences of pairs.

What moves a whole session (another process on the machine, another clock) moves both and cancels, so no spread between
sessions is added, and a few pairs tell as much as twenty stored sessions. The differences are assumed to be symmetric
if nothing has changed, as they are if the two take turns at going first. Autocorrelation inflates their variance
(`pair_autocorrelation`); a few pairs show only part of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.regression.decision_rule import ChangeEstimate, Look, estimate_change
from pytest_llmperf.judge.regression.effect_scale import PERCENT_OF_ZERO, Scale, scale_of
from pytest_llmperf.judge.regression.null_distribution import NullDistribution
from pytest_llmperf.judge.regression.pair_autocorrelation import (
    FEWEST_PAIRS,
    alike_words,
    pair_autocorrelation,
    pair_inflation,
)
from pytest_llmperf.judge.regression.sampling_variance import rounding_variance
from pytest_llmperf.judge.stats.distributions import chi2_nodes
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.row_statistics import exact_row_means, row_variances
from pytest_llmperf.judge.stats.summary import Aggregate, check_finite, mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.stats.row_statistics import Array
    from pytest_llmperf.model import Bound

RULE = "pairs 3"
"""Name and version of this rule, see `stored_sessions.RULE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsModel:
    """Differences of pairs, as losses: the change, and what the rule needs for its null distribution.

    Attributes:
        pairs: how many.
        shift: the mean difference, candidate less incumbent; positive is worse.
        difference_variance: sample variance of the differences.
        autocorrelation: the autocorrelation of neighbouring pairs, as far as it counts.
        rounding: variance of the mean difference because values are rounded.
    """

    pairs: int
    shift: Array
    difference_variance: Array
    autocorrelation: Array
    rounding: Array

    @classmethod
    def of(cls, scale: Scale, incumbent: Array, candidate: Array, *, last: bool) -> PairsModel:
        """From the values of two or more pairs, each side of shape (..., pairs), in the metric's unit.

        Args:
            scale: the scale of the losses.
            incumbent: one value a pair.
            candidate: the same.
            last: whether the session ends with these pairs.
        """
        losses = scale.to_loss(incumbent), scale.to_loss(candidate)
        differences = losses[1] - losses[0]
        sides = (rounding_variance(Aggregate.MEAN, scale, [side[..., None, :]]) for side in (incumbent, candidate))
        return cls(
            pairs=differences.shape[-1],
            shift=exact_row_means(differences),
            difference_variance=row_variances(differences),
            autocorrelation=pair_autocorrelation(*losses, last=last),
            rounding=sum(sides, np.zeros(())),
        )

    def null_distribution(self, pairs: int) -> NullDistribution:
        """The null distribution of the mean difference of `pairs` pairs."""
        # What is assumed of a few pairs is not assumed of more.
        counts = (self.pairs < FEWEST_PAIRS) == (pairs < FEWEST_PAIRS)
        inflation = pair_inflation(self.autocorrelation * counts, pairs)
        typical = inflation * self.difference_variance / pairs
        # Many more pairs than these would also know the variance better.
        freedom = max(self.pairs, pairs) - 1
        x, weights = chi2_nodes(freedom)
        return NullDistribution(
            weights=weights,
            variances=typical[..., None] * (freedom / x) + self.rounding[..., None],
            third=np.zeros_like(typical),
            typical=typical + self.rounding,
            rounding=self.rounding,
        )


def change_between_pairs(
    *,
    bound: Bound,
    in_points: bool,
    delta: float,
    incumbent: Sequence[float],
    candidate: Sequence[float],
    look: Look,
) -> ChangeEstimate | None:
    """The change from the incumbent's rounds to the candidate's, pair by pair.

    Args:
        bound: which side is good.
        in_points: state it in the metric's own points, else in percent of the incumbent.
        delta: the smallest change that matters.
        incumbent: one value a pair.
        candidate: one value a pair, in the same order.
        look: the current look.

    Returns:
        None for fewer than two pairs.

    Raises:
        MeasurementError: unequal numbers of values, or one that is not finite.
    """
    check_finite(incumbent)
    check_finite(candidate)
    if len(incumbent) != len(candidate):
        raise MeasurementError(f"{len(incumbent)} rounds of the incumbent and {len(candidate)} of the candidate")
    if len(incumbent) < 2:
        return None
    base, least = mean(incumbent) or PERCENT_OF_ZERO, min(*incumbent, *candidate)
    scale = scale_of(bound=bound, base=None if in_points else base, delta=delta, least=least)
    sides = (np.asarray(side, dtype=float) for side in (incumbent, candidate))
    model = PairsModel.of(scale, *sides, last=look.last)
    change = estimate_change(
        model.null_distribution,
        rounds=model.pairs,
        shift=float(model.shift),
        scale=scale,
        delta=delta,
        look=look,
        round_sd=math.sqrt(model.difference_variance / 2),
    )
    inflation = float(pair_inflation(model.autocorrelation, model.pairs))
    return replace(change, caveat=alike_words(inflation, model.pairs))
