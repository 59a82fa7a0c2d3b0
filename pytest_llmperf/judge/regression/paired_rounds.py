"""Interleaved comparison: incumbent and candidate by turns in one session, judged by the differences of their pairs.

What moves a whole session (another neighbour on the machine, another clock) moves both and cancels, so no spread
between sessions is charged, and a few pairs say what twenty stored sessions say. The differences of pairs are taken as
independent and symmetric where nothing has changed, as they are when the two take turns at going first; neighbouring
differences that are alike are charged (`judge.sequence`), which takes off only a part of the harm where each side has
a memory of its own.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.regression.decision_rule import Drop, Looking, judge_drop
from pytest_llmperf.judge.regression.effect_scale import PERCENT_OF_ZERO, scale_of
from pytest_llmperf.judge.regression.null_distribution import Doubt
from pytest_llmperf.judge.stats.autocorrelation import charge
from pytest_llmperf.judge.stats.distributions import chi2_nodes
from pytest_llmperf.judge.stats.resolution import step_of
from pytest_llmperf.judge.stats.summary import check_finite, mean, sample_sd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.model import Bound


def paired_drop(
    *,
    bound: Bound,
    in_points: bool,
    delta: float,
    incumbent: Sequence[float],
    candidate: Sequence[float],
    looking: Looking,
) -> Drop | None:
    """The drop from the incumbent's rounds to the candidate's, pair by pair.

    Args:
        bound: which side is good.
        in_points: state it in the metric's own points, else in percent of the incumbent.
        delta: the smallest change that matters.
        incumbent: one value a pair.
        candidate: one value a pair, in the same order.
        looking: which look this is.

    Returns:
        None from fewer than two pairs.

    Raises:
        MeasurementError: unequal numbers of values, or one that is not finite.
    """
    check_finite(incumbent)
    check_finite(candidate)
    if len(incumbent) != len(candidate):
        raise MeasurementError(f"{len(incumbent)} rounds of the incumbent and {len(candidate)} of the candidate")
    n = len(incumbent)
    if n < 2:
        return None
    base = mean(incumbent) or PERCENT_OF_ZERO
    scale = scale_of(bound=bound, in_points=in_points, base=base, delta=delta, values=[*incumbent, *candidate])
    pairs = zip(scale.badness(incumbent), scale.badness(candidate), strict=True)
    differences = [new - old for old, new in pairs]
    sd = sample_sd(differences)
    alike = charge(differences)
    rounding = sum(scale.rounding(step_of(side), mean(side)) for side in (incumbent, candidate))

    def doubt_at(rounds: int) -> Doubt:
        typical = alike * sd**2 / rounds
        # Many more rounds than these would also know the variance better.
        freedom = max(n, rounds) - 1
        nodes = tuple((w, typical * freedom / x + rounding) for x, w in chi2_nodes(freedom))
        return Doubt(nodes=nodes, third=0.0, typical=typical + rounding, rounding=rounding)

    return judge_drop(
        doubt_at,
        rounds=n,
        shift=statistics.fmean(differences),
        scale=scale,
        delta=delta,
        looking=looking,
        round_sd=sd / math.sqrt(2),
    )
