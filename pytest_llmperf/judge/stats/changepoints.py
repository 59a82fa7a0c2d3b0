"""Changes of the level of a series of sessions: at once (a step), or little by little (a creep).

A stretch of sessions has two possible explanations: two levels, for every place where the second may begin, and a
straight line. Student's t tests each against "nothing changed"; the places of a step share its error. A step splits the
stretch, and both parts are tested again (binary segmentation). If neither explains the whole, shorter stretches within
it are tested, each with its share of the error, and the most certain change is taken, since down and up again is no
change over the whole (seeded stretches, after Kovacs, Buhlmann, Li and Munk 2023). For several steps against one creep
the explanation with the lower BIC is taken. Sessions are assumed to be independent, with the same variance about their
level; rounded values have at least the variance of their rounding. In each test a session that is far from the median
of its stretch counts as nearer: one bad session in ten is no change of level.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.distributions import beta_cdf
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.row_statistics import row_means

if TYPE_CHECKING:
    from pytest_llmperf.judge.stats.row_statistics import Array

FEWEST = 5
"""The least number of sessions in a stretch that is tested."""

_SIDE = 2
"""Sessions on each side of a step: one alone may be an outlier."""

_FAR = 3 * 1.4826
"""Values count as at most this many median distances from the median: three standard deviations of normal values."""

_EQUAL = 1e-12
"""Squares left over that are less than this share of the squares of the values are rounding."""


class How(StrEnum):
    """How a level changes."""

    STEP = "step"
    CREEP = "creep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A change of level.

    Attributes:
        how: whether the level changed at once or gradually.
        start: index of the last session before a step, or of the first session of a gradual change.
        end: index of the first session after a step, or of the last session of a gradual change.
        before, after: the levels at both ends, in the series' unit.
        error: probability that a series without a change looks like this.
    """

    how: How
    start: int
    end: int
    before: float
    after: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Neighbouring sessions of a series.

    Attributes:
        values: one a session, oldest first.
        start: the index of the first of them in the series.
        rounding: the variance that the rounding of each value adds.
    """

    values: Array
    start: int
    rounding: float

    def part(self, first: int, last: int) -> _Stretch:
        """From one index in the series up to another."""
        return replace(self, values=self.values[first - self.start : last - self.start], start=first)

    def without_outliers(self) -> _Stretch:
        """The stretch with values far from its median taken as nearer; as it is if more than half are equal."""
        middle = np.median(self.values)
        far = _FAR * np.median(np.abs(self.values - middle))
        return replace(self, values=np.clip(self.values, middle - far, middle + far)) if far > 0 else self

    @property
    def count(self) -> int:
        """The number of sessions."""
        return len(self.values)

    @property
    def end(self) -> int:
        """The index after the last session in the series."""
        return self.start + self.count

    @property
    def negligible(self) -> float:
        """Squares up to this are the rounding of floats."""
        return _EQUAL * max(float(self.values @ self.values), math.ulp(0.0))

    def residual_squares(self, fitted: Array) -> float:
        """The residual sum of squares of an explanation."""
        return float(((self.values - fitted) ** 2).sum())

    def error(self, effect: float, residual_squares: float, share: float) -> float:
        """The probability of such an effect, or a larger one, by chance alone (Student's t with two fitted parameters).

        Args:
            effect: a difference of levels, or a slope.
            residual_squares: the residual sum of squares; the sum expected from rounding is its minimum.
            share: the variance of the effect divided by the variance of one value.
        """
        squares, freedom = share * max(residual_squares, self.count * self.rounding), self.count - 2
        if effect**2 <= self.negligible:
            return 1.0
        if squares <= self.negligible:
            return 0.0
        t_squared = effect**2 / (squares / freedom)
        return beta_cdf(freedom / 2, 0.5, freedom / (freedom + t_squared))


def breaks(values: Sequence[float], error: float, *, step: float = 0.0) -> tuple[Break, ...]:
    """The changes of level of a series, oldest first.

    Args:
        values: one a session, oldest first.
        error: probability of a false alarm in a stretch in which nothing changed.
        step: resolution of the values, see `resolution.step_of`.
    """
    series = _Stretch(values=np.asarray(values, dtype=float), start=0, rounding=step * step / 12)
    changes = _explain(series, error)
    fitted = levels(values, changes)
    # The levels of a step are levels of the sessions between it and its neighbours, which are known only now.
    return tuple(replace(change, before=fitted[change.start], after=fitted[change.end]) for change in changes)


def levels(values: Sequence[float], changes: Sequence[Break]) -> tuple[float, ...]:
    """The level at each session of a series with these breaks: flat except in a creep.

    Args:
        values: one a session.
        changes: see `breaks`.
    """
    edges = {0, len(values)}
    for change in changes:
        edges |= {change.end} if change.how is How.STEP else {change.start, change.end + 1}
    creeps = {change.start: change for change in changes if change.how is How.CREEP}
    fitted: list[float] = []
    for start, end in pairwise(sorted(edges)):
        if creep := creeps.get(start):
            rise = (creep.after - creep.before) / (end - start - 1)
            fitted += [creep.before + rise * place for place in range(end - start)]
        else:
            fitted += [statistics.fmean(values[start:end])] * (end - start)
    return tuple(fitted)


def _explain(stretch: _Stretch, error: float) -> list[Break]:
    """The breaks of a stretch; half of the error is for it as a whole, half for the stretches within."""
    if stretch.count < FEWEST:
        return []
    step, line = _step(stretch), _line(stretch)
    steps = _split(stretch, step, error) if step.error < error / 4 else []
    creep = [line] if line.error < error / 4 else []
    if not steps and not creep:
        return _explain_within(stretch, error)
    return min(filter(None, (steps, creep)), key=lambda changes: _bic(stretch, changes))


def _explain_within(stretch: _Stretch, error: float) -> list[Break]:
    """The most certain change in a shorter stretch, and the changes on both sides of it."""
    parts = list(_shorter(stretch))
    if not parts:
        return []
    best = min((find(part) for part in parts for find in (_step, _line)), key=lambda change: change.error)
    if best.error >= error / 4 / len(parts):
        return []
    return _split(stretch, best, error)


def _split(stretch: _Stretch, change: Break, error: float) -> list[Break]:
    """A break with those before and after it."""
    first, last = (change.end, change.end) if change.how is How.STEP else (change.start, change.end + 1)
    before, after = stretch.part(stretch.start, first), stretch.part(last, stretch.end)
    return [*_explain(before, error), change, *_explain(after, error)]


def _shorter(stretch: _Stretch) -> Iterator[_Stretch]:
    """Parts of growing lengths, each overlapping the next by half."""
    length = FEWEST
    while length < stretch.count:
        firsts = range(stretch.start, stretch.end - length + 1, max(length // 2, 1))
        yield from (stretch.part(first, first + length) for first in sorted({*firsts, stretch.end - length}))
        length = length * 3 // 2


def _bic(stretch: _Stretch, changes: Sequence[Break]) -> float:
    """The Bayesian information criterion of an explanation: residual squares and a penalty for parameters."""
    moved = [replace(change, start=change.start - stretch.start, end=change.end - stretch.start) for change in changes]
    left = stretch.residual_squares(np.array(levels(stretch.values.tolist(), moved)))
    count = stretch.count
    return count * math.log(max(left, stretch.negligible) / count) + (1 + 2 * len(changes)) * math.log(count)


def _step(stretch: _Stretch) -> Break:
    """The two levels that explain most."""
    stretch = stretch.without_outliers()
    values, count = stretch.values, stretch.count
    lengths = np.arange(_SIDE, count - _SIDE + 1)
    # From the mean of all, two levels explain S^2 (1 / n + 1 / m), where S is the sum of the first n of n + m values.
    sums = np.cumsum(values - row_means(values))[lengths - 1]
    shares = 1 / lengths + 1 / (count - lengths)
    explained = sums * sums * shares
    best = int(np.argmax(explained >= explained.max() * (1 - _EQUAL)))  # the first of equals
    place = int(lengths[best])
    before, after = row_means(values[:place]), row_means(values[place:])
    left = stretch.residual_squares(np.where(np.arange(count) < place, before, after))
    error = min(1.0, len(lengths) * stretch.error(float(after - before), left, float(shares[best])))
    start = stretch.start + place
    return Break(how=How.STEP, start=start - 1, end=start, before=float(before), after=float(after), error=error)


def _line(stretch: _Stretch) -> Break:
    """The straight line that explains most."""
    stretch = stretch.without_outliers()
    count, middle = stretch.count, float(row_means(stretch.values))
    places: Array = np.arange(count, dtype=np.float64) - (count - 1) / 2
    share = 12 / (count * (count**2 - 1))
    slope = float(places @ (stretch.values - middle)) * share
    fitted: Array = middle + slope * places
    error = stretch.error(slope, stretch.residual_squares(fitted), share)
    before, after = fitted[[0, -1]].tolist()
    return Break(how=How.CREEP, start=stretch.start, end=stretch.end - 1, before=before, after=after, error=error)
