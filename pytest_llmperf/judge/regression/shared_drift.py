"""A drift within sessions that stored sessions and this one share: later rounds are worse, or better, than early ones.

A session that is longer than the stored sessions would also be judged by its later rounds, which have no counterpart
there. If there is a drift, only the first rounds of the new session are compared, in the number of the stored rounds:
these drift alike. The slope is pooled over the stored sessions and the new one; it counts if Student's t is significant
and both slopes have its sign. Autocorrelated rounds look like a drift, so the variance is inflated for
autocorrelation as everywhere (`judge.stats.autocorrelation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.autocorrelation import variance_inflation
from pytest_llmperf.judge.stats.distributions import t_quantile
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.row_statistics import row_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmperf.judge.stats.row_statistics import Array

ERROR = 0.05
"""How often rounds without a drift show one, two-sided, before the signs are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slopes:
    """Sums of a regression of losses on the number of the round, each session about its own mean.

    Attributes:
        products: sums of products of losses and round numbers.
        squares: sums of squares of losses.
        spread: sum of squares of round numbers.
        freedom: degrees of freedom of `squares`.
    """

    products: Array
    squares: Array
    spread: float
    freedom: int

    @classmethod
    def of(cls, groups: Sequence[Array]) -> Slopes:
        """For groups of sessions of equal length, each of shape (..., sessions, rounds)."""
        products, squares, spread, freedom = np.zeros(()), np.zeros(()), 0.0, 0
        for group in groups:
            count, n = group.shape[-2:]
            residuals, numbers = group - row_means(group)[..., None], np.arange(n) - (n - 1) / 2
            products = products + (residuals @ numbers).sum(axis=-1)
            squares = squares + (residuals * residuals).sum(axis=(-2, -1))
            spread += count * float(numbers @ numbers)
            freedom += count * (n - 1)
        return cls(products=products, squares=squares, spread=spread, freedom=freedom)


def share_drift(stored: Slopes, losses: Array) -> NDArray[np.bool_]:
    """Whether the stored sessions and this one drift alike.

    Args:
        stored: the slopes of the stored sessions.
        losses: the losses of this session, shape (..., rounds), three rounds or more.
    """
    new = Slopes.of([losses[..., None, :]])
    spread, freedom = stored.spread + new.spread, stored.freedom + new.freedom - 1
    slope = (stored.products + new.products) / spread
    left_over = np.maximum(stored.squares + new.squares - slope * slope * spread, 0.0)
    residuals = losses - (new.products / new.spread)[..., None] * np.arange(losses.shape[-1])
    variance = left_over / freedom / spread * variance_inflation(residuals)
    t = t_quantile(1 - ERROR / 2, freedom)
    agree: NDArray[np.bool_] = stored.products * new.products > 0
    return agree & (slope * slope > t * t * variance)
