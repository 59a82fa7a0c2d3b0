"""The laws that fit throughput by number of agents: their misfit, and the region of those that are possible."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.confidence_intervals import CONFIDENCE_PCT
from pytest_llmperf.judge.stats.distributions import beta_quantile
from pytest_llmperf.judge.stats.numpy_on_demand import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_COARSE, _FINE = 41, 121
"""Points of a grid along each parameter, of the search for the region, and of the region."""

_MOST_ZOOMS = 60
_MOST_COHERENCY = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Mean logarithms of throughput per agent by number of agents, and the scatter of a round."""

    sizes: Array
    rounds: Array
    logs: Array
    variance: float
    df: float

    def widened(self, least: float) -> Means:
        """With the scatter of whole sizes around the law in place of that of rounds: departures small, but real."""
        df = len(self.sizes) - 3
        return replace(self, variance=least / df, df=df)

    def relative(self, contention: Array, coherency: Array) -> Array:
        """Logarithms of what an agent loses; one more axis, over sizes."""
        return log_loss(contention[..., None], coherency[..., None], self.sizes)

    def misfit_of(self, contention: Array, coherency: Array) -> Array:
        """The weighted sum of squares between the means and a law, whose gamma fits best."""
        level = self.logs + self.relative(contention, coherency)
        middle = (level * self.rounds).sum(axis=-1, keepdims=True) / self.rounds.sum()
        squares: Array = (self.rounds * (level - middle) ** 2).sum(axis=-1)
        return squares

    def gamma_log(self, contention: Array, coherency: Array) -> Array:
        """The logarithm of the gamma that fits best."""
        levels: Array = ((self.logs + self.relative(contention, coherency)) * self.rounds).sum(
            axis=-1
        ) / self.rounds.sum()
        return levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """The laws that are jointly possible with 95 % confidence."""

    means: Means
    most_squares: float

    def __contains__(self, law: tuple[float, float]) -> bool:
        """Whether a contention and a coherency are in it."""
        contention, coherency = (np.asarray(value, float) for value in law)
        return float(self.means.misfit_of(contention, coherency)) <= self.most_squares


def _squares(means: Means, low: Array, high: Array, cells: int) -> tuple[Array, Array, Array]:
    """A grid of laws between two, and the misfit of each."""
    contention, coherency = np.meshgrid(
        np.linspace(low[0], high[0], cells), np.linspace(low[1], high[1], cells), indexing="ij"
    )
    return contention, coherency, means.misfit_of(contention, coherency)


@dataclass(frozen=True, slots=True)
class Grid:
    """Laws that fill a region, each with its distance from the best, in units of the scatter."""

    contention: Array
    coherency: Array
    distance: Array
    best: tuple[float, float]
    least: float

    @classmethod
    def around(cls, means: Means, limit: float) -> Grid:
        """The laws within the limit, on a grid that is drawn anew until they fill it.

        Contention and coherency can replace each other in part: the region is a ridge that a coarse grid misses. So a
        grid whose border is reached grows on that side.
        """
        most = np.array([1.0, _MOST_COHERENCY])
        low, high = np.zeros(2), most
        for _ in range(_MOST_ZOOMS):
            contention, coherency, squares = _squares(means, low, high, _COARSE)
            at = np.nonzero(squares - squares.min() <= limit * means.variance)
            first, last = np.array([axis.min() for axis in at]), np.array([axis.max() for axis in at])
            width, step = high - low, (high - low) / (_COARSE - 1)
            short, long = (first == 0) & (low > 0), (last == _COARSE - 1) & (high < most)
            if grows := bool((short | long).any()):
                lower, upper = low - np.where(short, width / 2, 0.0), high + np.where(long, width / 2, 0.0)
            else:
                lower, upper = low + (first - 1) * step, low + (last + 1) * step
            lower, upper = np.maximum(lower, 0.0), np.minimum(upper, most)
            filled = not grows and bool((upper - lower > 0.6 * width).all())
            low, high = lower, upper
            if filled:
                break
        contention, coherency, squares = _squares(means, low, high, _FINE)
        best = np.unravel_index(np.argmin(squares), squares.shape)
        least, distance = float(squares[best]), (squares - squares[best]) / means.variance
        inside = distance <= limit
        return cls(
            contention[inside],
            coherency[inside],
            distance[inside],
            (float(contention[best]), float(coherency[best])),
            least,
        )


def log_loss(contention: Array, coherency: Array, agents: Array | float) -> Array:
    """Logarithm of N times the throughput of one over that of N."""
    loss: Array = np.log1p(contention * (agents - 1) + coherency * agents * (agents - 1))
    return loss


def f_quantile(df: int, residual_df: float) -> float:
    """The 95 % quantile of the F distribution."""
    x = beta_quantile(CONFIDENCE_PCT / 100, df / 2, residual_df / 2)
    return residual_df / df * x / (1 - x)
