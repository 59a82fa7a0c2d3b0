"""The Universal Scalability Law, fitted to throughput by number of agents (Gunther, "Guerrilla Capacity Planning").

With N agents a server gives `X(N) = gamma * N / (1 + contention * (N - 1) + coherency * N * (N - 1))`. Contention is
the share of the work that is done for one agent at a time. Coherency is what each pair of agents costs; it makes
throughput fall again.

Rounds scatter by a share of their value, so the law is fitted to logarithms by least squares, with a contention from 0
to 1 and a coherency from 0 on. Regions and intervals are by profile likelihood: all laws whose residual sum of squares
is within an F quantile of the least, in units of the scatter of rounds with the same number of agents. A server that
serves one agent after the other, and one that grows linearly, are on the edge of the parameters, where a bootstrap is
wrong too often. There the least sum is too large, and so is the region, which then contains the truth more often. Every
interval is the range of a figure over the joint region: on the edge, one for a single figure would be too short.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.stats.confidence_intervals import Interval
from pytest_llmperf.judge.stats.distributions import beta_cdf
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.study.scaling.law_region import Grid, Means, Region, f_quantile, log_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FEWEST_SIZES = 4
"""Numbers of agents below which no law is claimed: three parameters fit any three."""

LINEAR_SHARE = 0.9
"""Growth is linear if each of the most agents still gets this share of the throughput of one agent alone."""

_MISFIT_ERROR = 0.01
"""How often rounds that follow the law may be said not to."""

_MISFIT_SHARE = 0.05
"""Smaller departures from the law do not matter; they widen its intervals."""

_METHOD = "profile likelihood"


class Growth(StrEnum):
    """How throughput grows with the number of agents, over those that were measured."""

    LINEAR = "linear"
    SATURATING = "saturating"
    RETROGRADE = "retrograde"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """Where rounds do not follow the law.

    Attributes:
        agents: the number of agents at which the departure is the clearest.
        departure_pct: measured against fitted throughput there, %.
        p_value: of so large departures if the law were true.
    """

    agents: int
    departure_pct: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The fitted throughput at a number of agents, with the band that holds the whole curve with 95 % confidence."""

    agents: float
    fitted: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingLaw:
    """A fitted law.

    Attributes:
        gamma: throughput of one agent, in the unit of the values.
        contention, coherency: as defined above.
        contention_interval, coherency_interval: 95 %; all intervals hold together.
        growth: over the measured numbers of agents; undecided if the law does not fit.
        efficiency: throughput of the most agents over that many times the throughput of one.
        efficiency_interval: of it.
        peak: the number of agents of most throughput by the law; infinite if it grows for ever.
        peak_interval: of it; the upper end may be infinite.
        misfit: where rounds depart from the law; None: they do not, as far as can be told.
        curve: for a chart; has a point for each measured number of agents.
        region: the joint 95 % region.
    """

    gamma: float
    contention: float
    coherency: float
    contention_interval: Interval
    coherency_interval: Interval
    growth: Growth
    efficiency: float
    efficiency_interval: Interval
    peak: float
    peak_interval: Interval
    misfit: Misfit | None
    curve: tuple[Point, ...]
    region: Region = field(repr=False)


def fit_scaling_law(rounds: Mapping[int, Sequence[float]]) -> ScalingLaw:
    """The law of these rounds.

    Args:
        rounds: throughput of each round, above 0, by number of agents; rounds must not depend on each other.

    Raises:
        MeasurementError: fewer than `FEWEST_SIZES` numbers of agents, a single round of some, or no throughput.
    """
    means = _means_of(rounds)
    grid = Grid.around(means, f_quantile(3, means.df) * 3)
    misfit = _misfit(means, *grid.best)
    if misfit is not None and abs(misfit.departure_pct) < 100 * _MISFIT_SHARE:
        means, misfit = means.widened(grid.least), None
        grid = Grid.around(means, f_quantile(3, means.df) * 3)
    limit = 2 * f_quantile(2, means.df)
    joint = grid.distance <= limit
    contention, coherency = grid.best
    most = float(means.sizes[-1])
    efficiency = np.exp(-log_loss(grid.contention, grid.coherency, most))
    efficiency_interval = _range(efficiency[joint])
    decline = _range((grid.contention + grid.coherency * most**2)[joint])
    peaks = _peak(grid.contention, grid.coherency)
    return ScalingLaw(
        gamma=math.exp(float(means.gamma_log(np.asarray(contention), np.asarray(coherency)))),
        contention=contention,
        coherency=coherency,
        contention_interval=_range(grid.contention[joint]),
        coherency_interval=_range(grid.coherency[joint]),
        growth=Growth.UNDECIDED if misfit else _growth(efficiency_interval, decline),
        efficiency=math.exp(-float(log_loss(np.asarray(contention), np.asarray(coherency), most))),
        efficiency_interval=efficiency_interval,
        peak=float(_peak(np.asarray(contention), np.asarray(coherency))),
        peak_interval=_range(peaks[joint]),
        misfit=misfit,
        curve=_curve(means, grid),
        region=Region(means=means, most_squares=grid.least + limit * means.variance),
    )


def _means_of(rounds: Mapping[int, Sequence[float]]) -> Means:
    """The means; raises MeasurementError if they are too few for a law."""
    if len(rounds) < FEWEST_SIZES:
        raise MeasurementError(
            f"no scaling law: throughput was measured with {len(rounds)} numbers of agents, a law needs {FEWEST_SIZES}",
            next_step="measure more numbers of agents, for example 1, 2, 4 and 8",
        )
    for agents, values in rounds.items():
        if len(values) < 2 or min(values) <= 0:
            fault = "a single round" if len(values) < 2 else "a round without throughput"
            raise MeasurementError(
                f"no scaling law: {agents} agents have {fault}", next_step="measure at least two rounds of each size"
            )
    sizes = sorted(rounds)
    logs = [np.log(np.asarray(rounds[size], float)) for size in sizes]
    df = sum(len(values) - 1 for values in logs)
    squares = math.fsum(float(((values - values.mean()) ** 2).sum()) for values in logs)
    return Means(
        sizes=np.asarray(sizes, float),
        rounds=np.asarray([len(values) for values in logs], float),
        logs=np.asarray([values.mean() for values in logs]) - np.log(np.asarray(sizes, float)),
        variance=max(squares / df, 1e-12),  # equal rounds: as exact as the figures
        df=df,
    )


def _misfit(means: Means, contention: float, coherency: float) -> Misfit | None:
    """The lack of fit by the F test against pure error; None if there is none."""
    a, b = np.asarray(contention), np.asarray(coherency)
    departures = means.logs + means.relative(a, b) - means.gamma_log(a, b)
    df = len(means.sizes) - 3
    f = float((means.rounds * departures**2).sum()) / df / means.variance
    p_value = beta_cdf(means.df / 2, df / 2, means.df / (means.df + df * f))
    if p_value > _MISFIT_ERROR:
        return None
    worst = int(np.argmax(means.rounds * departures**2))
    return Misfit(
        agents=int(means.sizes[worst]), departure_pct=100 * math.expm1(float(departures[worst])), p_value=p_value
    )


def _growth(efficiency: Interval, decline: Interval) -> Growth:
    """What the intervals allow: decline is above 1 if throughput falls at the most agents."""
    if decline.low > 1:
        return Growth.RETROGRADE
    if efficiency.low >= LINEAR_SHARE:
        return Growth.LINEAR
    return Growth.SATURATING if efficiency.high < LINEAR_SHARE else Growth.UNDECIDED


def _curve(means: Means, grid: Grid) -> tuple[Point, ...]:
    """The best law and the band of all laws that are jointly possible, gamma included."""
    limit = 3 * f_quantile(3, means.df)
    room = np.sqrt(np.maximum(limit - grid.distance, 0) * means.variance / means.rounds.sum())
    gammas = means.gamma_log(grid.contention, grid.coherency)
    a, b = (np.asarray(value) for value in grid.best)
    points = []
    for agents in np.union1d(np.linspace(means.sizes[0], means.sizes[-1], 50), means.sizes):
        logs = gammas - log_loss(grid.contention, grid.coherency, agents) + math.log(agents)
        fitted = float(means.gamma_log(a, b) - log_loss(a, b, agents)) + math.log(agents)
        points.append(
            Point(
                agents=float(agents),
                fitted=math.exp(fitted),
                low=math.exp(float((logs - room).min())),
                high=math.exp(float((logs + room).max())),
            )
        )
    return tuple(points)


def _peak(contention: Array, coherency: Array) -> Array:
    """The number of agents of most throughput."""
    with np.errstate(divide="ignore", invalid="ignore"):
        peak = np.sqrt((1 - contention) / coherency)
    return np.where(contention >= 1, 1.0, np.maximum(peak, 1.0))


def _range(values: Array) -> Interval:
    return Interval(low=float(values.min()), high=float(values.max()), method=_METHOD)
