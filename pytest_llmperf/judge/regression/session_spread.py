"""The spread between sessions in the interval of one session, which is then about the deployment.

The interval of a limit gate knows the rounds of one session only. Where stored sessions know how sessions differ, the
variance between them is added. It is the variance of their centres without the sampling variance, at least 0, and as
uncertain as chi-square says: the mixture that judges changes from stored sessions, see `stored_sessions`. Stored
sessions say nothing here of where the deployment's mean is, since a new version may have moved it.

Arrays have any number of leading batch axes, one element for each run; a gate's run has none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_llmperf.judge.regression.effect_scale import Scale
from pytest_llmperf.judge.regression.stored_change import grouped
from pytest_llmperf.judge.regression.stored_sessions import SESSIONS_FOR_SPREAD, StoredRounds
from pytest_llmperf.judge.stats.distributions import chi2_nodes, normal_tail, t_quantile
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.roots import crossing
from pytest_llmperf.judge.stats.summary import Aggregate
from pytest_llmperf.model import Bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.stats.row_statistics import Array

_AS_THEY_ARE = Scale(bound=Bound.MAX, unit="")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpread:
    """How far the centres of stored sessions differ, in the unit of their values.

    Attributes:
        count: the number of sessions, SESSIONS_FOR_SPREAD or more.
        centre: the mean of their centres.
        centres_variance: the sample variance of their centres.
        within: the mean sampling variance of a centre, which the rounds of a session explain.
    """

    count: int
    centre: Array
    centres_variance: Array
    within: Array

    @classmethod
    def of(cls, aggregate: Aggregate, groups: Sequence[Array]) -> SessionSpread | None:
        """From the values of stored sessions: for each length an array of shape (..., sessions, rounds).

        None if they are too few, or have one round each.
        """
        count = sum(group.shape[-2] for group in groups)
        if count < SESSIONS_FOR_SPREAD:
            return None
        stored = StoredRounds.of(aggregate, _AS_THEY_ARE, groups)
        if stored.sampling.freedom < 1:
            return None
        moments = [stored.sampling.moments(length)[0] * sessions for length, sessions in stored.lengths.items()]
        within = np.sum(moments, axis=0) / count
        return cls(count=count, centre=stored.centre, centres_variance=stored.centres_variance, within=within)

    def spread(self) -> Array:
        """The standard deviation between sessions, by the plain estimate, at least 0."""
        return np.sqrt(np.maximum(self.centres_variance - self.within, 0.0))

    def scaled(self, factor: Array | float) -> SessionSpread:
        """The spread of sessions whose values are larger by a factor."""
        square = np.square(factor)
        return replace(
            self,
            centre=self.centre * factor,
            centres_variance=self.centres_variance * square,
            within=self.within * square,
        )

    def widened(self, margin: Array, alpha: float) -> Array:
        """The distance of an end of a session's interval, with the spread between sessions.

        Args:
            margin: the distance of the end from the session's centre, 0 or more; an infinite one stays infinite.
            alpha: the two-sided error of the interval.
        """
        finite = np.isfinite(margin)
        noise = np.square(np.where(finite, margin, 0.0) / t_quantile(1 - alpha / 2, float("inf")))
        x, weights = chi2_nodes(self.count - 1)
        scaled = self.centres_variance * (self.count - 1)
        between = np.maximum(scaled[..., None] / x - self.within[..., None], 0.0)
        sd = np.sqrt(np.maximum(noise[..., None] + between, 1e-300))
        start = np.maximum(margin, 3 * np.sqrt(noise + self.centres_variance))
        start = np.where(finite & (start > 0), start, 1e-9)
        distance = crossing(lambda far: alpha / 2 - normal_tail(far[..., None] / sd) @ weights, start, most=1e12)
        return np.where(finite, np.maximum(distance, margin), margin)


@lru_cache(maxsize=4)  # a verdict asks several times
def spread_of(aggregate: Aggregate, sessions: tuple[tuple[float, ...], ...], rounds: int) -> SessionSpread | None:
    """The spread between stored sessions over this number of first rounds; None if it is not known."""
    return SessionSpread.of(aggregate, grouped([session[:rounds] for session in sessions])) if sessions else None
