"""The null distribution of a difference of centres: how far two centres differ by chance, and a change's p-values.

It is a mixture of normal distributions with a few variances, each with a weight, because the variances themselves are
only estimated. Averaging the normal's tail over `n * s^2 / chi-square` gives Student's t; averaging it over a sum of
two such variances gives the generalized p-value (Tsui and Weerahandi 1989), which has no closed form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.distributions import normal_tail
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.roots import crossing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmperf.judge.stats.row_statistics import Array

MOST_SKEW = 2.0
"""The skewness of an exponential distribution; a larger estimate is taken as this."""

_LEAST_SKEW = 1e-4
"""A smaller skewness is taken as none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NullDistribution:
    """The distribution of the difference of two centres if nothing has changed. Shapes have any leading batch axes.

    Attributes:
        weights: the weights of the normal distributions in the mixture, shape (nodes,).
        variances: their variances, shape (..., nodes).
        third: the third cumulant, positive if the long tail is on the worse side, shape (...).
        typical: the variance by plain estimates, for power and the like, shape (...).
        rounding: the part of the variance that comes from rounded values, shape (...).
    """

    weights: Array
    variances: Array
    third: Array
    typical: Array
    rounding: Array

    def upper_tail(self, distance: Array | float) -> Array:
        """The probability of a difference at least this far on the worse side."""
        return self._tail(distance, self.third)

    def lower_tail(self, distance: Array | float) -> Array:
        """The probability of a difference at least this far on the better side."""
        return self._tail(distance, -self.third)

    def upper_quantile(self, error: Array | float) -> Array:
        """The distance on the worse side that chance exceeds with this probability."""
        return self._quantile(np.asarray(error), self.third)

    def lower_quantile(self, error: Array | float) -> Array:
        """The distance on the better side that chance exceeds with this probability."""
        return self._quantile(np.asarray(error), -self.third)

    def of(self, runs: NDArray[np.bool_]) -> NullDistribution:
        """The null distributions of some runs of a batch."""
        per_run = ("variances", "third", "typical", "rounding")
        return replace(self, **{name: getattr(self, name)[runs] for name in per_run})

    def may_exceed(self, distance: Array, error: float) -> NDArray[np.bool_]:
        """Whether the distance may be improbable enough for an error below 0.02: a cheap test before the exact tails.

        If not, both tails are above the error: half of the weight has at least the median variance, and skewness makes
        a tail this far out only heavier.
        """
        median = int(np.searchsorted(np.cumsum(self.weights), 0.5))
        return distance > -NormalDist().inv_cdf(2 * error) * np.sqrt(self.variances[..., median])

    def _tail(self, distance: Array | float, third: Array) -> Array:
        return skewed_tail(np.asarray(distance)[..., None], self.variances, third[..., None]) @ self.weights

    def _quantile(self, error: Array, third: Array) -> Array:
        """To 1e-7 of a standard deviation or two; the tail falls with the distance."""
        start = np.where(self.typical > 0, np.sqrt(self.typical), 1.0)
        roots = crossing(lambda distance: error - self._tail(distance, third), start + 0 * error, most=1e12)
        return np.where((self.variances > 0).any(axis=-1), roots, 0.0)


def skewed_tail(distance: Array, variance: Array, third: Array) -> Array:
    """P(error >= distance) for errors with this variance and third cumulant.

    A long tail on this side is that of a gamma distribution with the same skewness, by Wilson and Hilferty's cube
    root (1931). A short tail is taken as a normal one, which is the safe side.
    """
    certain = variance <= 0
    deviation = np.sqrt(np.where(certain, 1.0, variance))
    z = distance / deviation
    if np.any(third > 0):
        skew = np.minimum(third / (variance * deviation + certain), MOST_SKEW)
        skewed = skew > _LEAST_SKEW
        skew = np.where(skewed, skew, 1.0)
        z = np.where(skewed, 6 / skew * (np.cbrt(np.maximum(skew / 2 * z + 1, 0.0)) - 1) + skew / 6, z)
    return np.where(certain, distance <= 0, normal_tail(z))
