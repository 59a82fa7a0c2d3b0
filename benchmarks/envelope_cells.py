"""The cells of the envelope: how rounds are distributed, and the grid over which the promises of verdicts are tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _standardised(draw: Draw, mean: float, variance: float) -> Draw:
    return lambda rng, shape: (draw(rng, shape) - mean) / math.sqrt(variance)


def _gamma(k: float) -> Draw:
    return _standardised(lambda rng, shape: rng.gamma(k, 1.0, shape), k, k)


def _lognormal(s: float) -> Draw:
    mean, variance = math.exp(s**2 / 2), (math.exp(s**2) - 1) * math.exp(s**2)
    return _standardised(lambda rng, shape: rng.lognormal(0.0, s, shape), mean, variance)


def _modes(p: float) -> Draw:
    """A share of rounds is lower by five standard deviations of the others."""
    return _standardised(
        lambda rng, shape: 5.0 * (rng.random(shape) < p) + rng.standard_normal(shape), 5 * p, 25 * p * (1 - p) + 1
    )


def _two_values(p: float) -> Draw:
    return _standardised(lambda rng, shape: (rng.random(shape) < p).astype(float), p, p * (1 - p))


NOISES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: math.sqrt(12) * (rng.random(shape) - 0.5),
    "gamma 1.15": _gamma(1.15),
    "gamma .5": _gamma(0.5),
    "gamma .3": _gamma(0.3),
    "lognormal .5": _lognormal(0.5),
    "lognormal 1": _lognormal(1.0),
    "Student 3": lambda rng, shape: rng.standard_t(3, shape) / math.sqrt(3),
    "10 % low": _modes(0.1),
    "30 % low": _modes(0.3),
    "45 % low": _modes(0.45),
    "one in ten": _two_values(0.1),
}
"""Losses of mean 0 and standard deviation 1; larger is worse, so that tails are on the bad side."""

NORMAL_AND_SKEWED = ("normal", "gamma 1.15")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One situation. Losses are in points, or logarithms in percent.

    Attributes:
        group: the row of the table that it belongs to.
        rule: `stored`, `pairs`, `compare`, `limit` or `betting`.
        metric: `efficiency` (points, ceiling 100), `tok/s` (logarithms), `ttft` (logarithms, medians) or `cv` (of
            values around 100).
        noise: the noise of NOISES.
        sd: the standard deviation of rounds within a session.
        spread: between sessions, in sd of rounds.
        sessions: stored, on each side for `compare`.
        stored: rounds of a stored session.
        most: the largest number of rounds of the new session; the first look is at 5.
        step: the step of rounded values; 0: none.
        drift: the drift of every session, a round.
        memory: autocorrelation of neighbouring rounds, on each side.
        ratio: standard deviation of the candidate's rounds, over that of the others.
        gates: that share the error of `fail`.
        centre: the true mean, the limit of a limit gate.
    """

    group: str
    rule: str
    metric: str = "efficiency"
    noise: str = "normal"
    sd: float = 1.21
    spread: float = 0.0
    sessions: int = 8
    stored: int = 5
    most: int = 20
    step: float = 0.0
    drift: float = 0.0
    memory: float = 0.0
    ratio: float = 1.0
    gates: int = 1
    centre: float = 90.0

    @property
    def name(self) -> str:
        """What differs from the defaults of its rule."""
        usual = Cell(group=self.group, rule=self.rule, metric=self.metric)
        fields = (
            "noise",
            "sd",
            "spread",
            "sessions",
            "stored",
            "most",
            "step",
            "drift",
            "memory",
            "ratio",
            "gates",
            "centre",
        )
        own = [f"{field} {getattr(self, field)}" for field in fields if getattr(self, field) != getattr(usual, field)]
        return f"{self.rule} {self.metric}: {', '.join(own) or 'as usual'}"


def losses(cell: Cell, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Losses of rounds around 0; rounds are the last axis."""
    values = NOISES[cell.noise](rng, shape)
    if cell.memory:
        for index in range(1, shape[-1]):
            fresh = math.sqrt(1 - cell.memory**2) * values[..., index]
            values[..., index] = cell.memory * values[..., index - 1] + fresh
    return cell.sd * values + cell.drift * np.arange(shape[-1])


def values_of(cell: Cell, loss: np.ndarray) -> np.ndarray:
    """What a gate sees: efficiency falls with the loss, TTFT grows with it, tok/s fall."""
    if cell.metric in ("efficiency", "cv"):
        bounded = cell.rule in ("limit", "betting") and cell.metric == "efficiency"
        values = np.minimum(cell.centre - loss, 100.0 if bounded else np.inf)
    else:
        values = 100.0 * np.exp((1 if cell.metric == "ttft" else -1) * loss)
    return np.round(np.round(values / cell.step) * cell.step, 6) if cell.step else values


def _each(cell: Cell, **lists: tuple) -> Iterator[Cell]:
    for combination in product(*lists.values()):
        yield replace(cell, **dict(zip(lists, combination, strict=True)))


def _compared() -> Iterator[Cell]:
    """Comparisons with stored sessions."""
    spreads = (0.0, 0.5, 1.0, 2.0, 5.0)
    usual = Cell(group="distributions", rule="stored")
    yield from _each(usual, noise=tuple(NOISES), sessions=(4, 8, 20), spread=spreads)
    yield from _each(replace(usual, group="sd"), sd=(0.1, 0.5, 2.5, 4.0), sessions=(4, 20), spread=(0.0, 1.0, 5.0))
    yield from _each(replace(usual, group="lengths"), stored=(3, 10, 20), most=(10, 20, 40), spread=(0.0, 1.0))
    yield from _each(
        replace(usual, group="memory"), memory=(-0.5, 0.3, 0.6, 0.8, 0.95), sessions=(4, 20), spread=(0.0, 1.0)
    )
    yield from _each(replace(usual, group="drift"), drift=(0.05, 0.1, 0.2, 0.5), stored=(5, 20), sessions=(4, 8, 20))
    ratios = replace(usual, group="noise ratio")
    yield from _each(ratios, ratio=(0.5, 2.0, 3.0), noise=NORMAL_AND_SKEWED, sessions=(4, 20), spread=(0.0, 1.0))
    for step, sd in ((0.1, 0.03), (0.1, 0.06), (0.1, 0.3), (1.0, 0.3), (1.0, 1.21), (4.0, 1.21)):
        yield from _each(replace(usual, group="rounding", step=step, sd=sd), sessions=(4, 8, 20))
    shared = replace(usual, group="20 gates", gates=20)
    yield from _each(shared, noise=(*NORMAL_AND_SKEWED, "Student 3"), sessions=(4, 20), spread=(0.0, 1.0, 5.0))
    rates = replace(usual, group="tok/s", metric="tok/s")
    yield from _each(rates, sd=(0.05, 0.2, 0.6), sessions=(4, 20), spread=(0.0, 1.0))
    delays = replace(usual, group="TTFT", metric="ttft", sd=0.1)
    late = ("normal", "lognormal 1", "10 % low", "30 % low", "45 % low")
    yield from _each(delays, noise=late, sessions=(4, 8, 20), spread=(0.0, 1.0, 3.0))


def _paired() -> Iterator[Cell]:
    """Comparisons by turns."""
    usual = Cell(group="distributions", rule="pairs")
    yield from _each(usual, noise=tuple(NOISES), most=(20, 40))
    yield from _each(replace(usual, group="sd"), sd=(0.1, 0.5, 2.5, 4.0))
    yield from _each(replace(usual, group="memory of each side"), memory=(-0.5, 0.3, 0.6, 0.8, 0.95), most=(20, 40))
    ratios = replace(usual, group="noise ratio")
    yield from _each(ratios, ratio=(0.5, 2.0, 3.0), noise=("normal", "gamma 1.15", "gamma .3", "lognormal 1"))
    yield from _each(replace(usual, group="drift"), drift=(0.1, 0.5))
    for step, sd in ((0.1, 0.03), (0.1, 0.3), (1.0, 0.3), (1.0, 1.21)):
        yield replace(usual, group="rounding", step=step, sd=sd)
    yield from _each(replace(usual, group="20 gates", gates=20), noise=("normal", "gamma 1.15", "Student 3"))
    delays = replace(usual, group="TTFT", metric="ttft", sd=0.1)
    yield from _each(delays, noise=("normal", "lognormal 1", "10 % low", "30 % low", "45 % low"))


def _limited() -> Iterator[Cell]:
    """Limit gates, the true value on the limit; distributions that stay below 100 %."""
    below = ("gamma 1.15", "gamma .5", "gamma .3", "lognormal .5", "lognormal 1", "10 % low", "one in ten")
    usual = Cell(group="distributions", rule="limit", noise="gamma 1.15", centre=98.0)
    yield from _each(usual, noise=below, centre=(90.0, 95.0, 98.0), most=(20, 40))
    normal = replace(usual, group="sd", noise="normal", centre=90.0)
    yield from _each(normal, sd=(0.1, 0.5, 1.21, 2.5))
    yield from _each(replace(normal, group="memory"), memory=(-0.5, 0.3, 0.6, 0.8), most=(20, 40))
    for step, sd in ((0.1, 0.03), (0.1, 0.06), (0.1, 0.3), (1.0, 0.3), (1.0, 1.21)):
        yield replace(normal, group="rounding", step=step, sd=sd)
    yield from _each(replace(normal, group="sessions differ"), spread=(0.25, 0.5, 1.0))
    for sd in (0.05, 0.2, 0.6):
        yield replace(normal, group="tok/s", metric="tok/s", sd=sd)
    alone = replace(normal, group="CV", metric="cv", sd=5.0, centre=100.0)
    yield from _each(alone, noise=("normal", "uniform", "Student 3", "gamma 1.15"))
    yield from _each(
        replace(alone, group="TTFT", metric="ttft", sd=0.1), noise=("normal", "10 % low", "30 % low", "45 % low")
    )
    yield from _each(replace(usual, group="distributions", rule="betting", most=100), noise=below, centre=(90.0, 98.0))
    yield from _each(replace(normal, group="rounding", rule="betting", most=100), step=(0.1, 1.0), sd=(0.03, 0.3))


def _between_baselines() -> Iterator[Cell]:
    """Sessions against sessions."""
    usual = Cell(group="distributions", rule="compare", sessions=12)
    yield from _each(
        usual,
        noise=("normal", "gamma 1.15", "gamma .3", "lognormal 1", "Student 3", "10 % low"),
        sessions=(4, 12, 20),
        spread=(0.0, 1.0, 3.0),
    )
    yield from _each(replace(usual, group="noise ratio"), ratio=(0.5, 2.0, 3.0), sessions=(4, 12), spread=(0.0, 1.0))


def grid() -> tuple[Cell, ...]:
    """Every cell, in a fixed order."""
    return (*_compared(), *_paired(), *_limited(), *_between_baselines())
