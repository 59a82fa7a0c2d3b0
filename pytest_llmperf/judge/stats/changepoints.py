"""Where a series of sessions changes its level: at once (a step), or little by little (a creep).

Of a stretch of sessions two explanations are tried: two levels, for every place where the second may begin, and a
straight line. Each has Student's t test against "nothing changed", the step's error divided among its places. A step
splits the stretch, and both parts are looked at again (binary segmentation). Where neither explains the whole, shorter
stretches within it are tried, each with its share of the error, and the most certain change is taken: down and up
again is no change over the whole (seeded stretches, after Kovacs, Buhlmann, Li and Munk 2023). Of several steps and one
creep the explanation with the lower BIC is taken. What is assumed: sessions are independent, and scatter alike about
their level. Rounded values scatter by their rounding at least: equal ones are not exact.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from pytest_llmperf.judge.stats.distributions import beta_cdf

FEWEST = 5
"""Sessions that a stretch must have to be looked at."""

_SIDE = 2
"""Sessions on each side of a step: one alone may be an outlier."""

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
        how: at once or little by little.
        start: index of the last session before a step, or the first of a creep.
        end: index of the first session after a step, or the last of a creep.
        before, after: levels at either end, in the series' unit.
        error: how probably a series that did not change looks like this.
    """

    how: How
    start: int
    end: int
    before: float
    after: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """Values, oldest first, and the variance that the rounding of each adds."""

    values: Sequence[float]
    rounding: float

    def squares(self, start: int, end: int, left: float) -> float:
        """Squares that an explanation of a stretch leaves over, at least those of rounding."""
        return max(left, (end - start) * self.rounding)


def breaks(values: Sequence[float], error: float, *, step: float = 0.0) -> tuple[Break, ...]:
    """The changes of level of a series, oldest first.

    Args:
        values: one a session, oldest first.
        error: how often a stretch in which nothing changed may be said to change.
        step: that the values are known to, see `resolution.step_of`.
    """
    found = _explained(_Series(values=values, rounding=step * step / 12), 0, len(values), error)
    fitted = levels(values, found)
    # A step's levels are those of the sessions between it and its neighbours, which were not known when it was found.
    return tuple(replace(one, before=fitted[one.start], after=fitted[one.end]) for one in found)


def levels(values: Sequence[float], found: Sequence[Break]) -> tuple[float, ...]:
    """The level at each session of a series with these breaks: flat, but where it creeps.

    Args:
        values: one a session.
        found: what `breaks` says of them.
    """
    edges = {0, len(values)}
    for one in found:
        edges |= {one.end} if one.how is How.STEP else {one.start, one.end + 1}
    creeps = {one.start: one for one in found if one.how is How.CREEP}
    fitted: list[float] = []
    for start, end in pairwise(sorted(edges)):
        if creep := creeps.get(start):
            rise = (creep.after - creep.before) / (end - start - 1)
            fitted += [creep.before + rise * place for place in range(end - start)]
        else:
            fitted += [statistics.fmean(values[start:end])] * (end - start)
    return tuple(fitted)


def _explained(series: _Series, start: int, end: int, error: float) -> list[Break]:
    """The breaks of a stretch; half of the error is for it as a whole, half for the stretches within."""
    if end - start < FEWEST:
        return []
    step, line = (find(series, start, end) for find in (_step, _line))
    steps = _split(series, start, end, step, error) if step.error < error / 4 else []
    creep = [line] if line.error < error / 4 else []
    if not steps and not creep:
        return _within(series, start, end, error)
    return min(filter(None, (steps, creep)), key=lambda found: _bic(series, start, end, found))


def _within(series: _Series, start: int, end: int, error: float) -> list[Break]:
    """The most certain change in a shorter stretch, and what lies on both sides of it."""
    stretches = list(_stretches(start, end))
    if not stretches:
        return []
    best = min((find(series, *one) for one in stretches for find in (_step, _line)), key=lambda found: found.error)
    if best.error >= error / 4 / len(stretches):
        return []
    return _split(series, start, end, best, error)


def _split(series: _Series, start: int, end: int, found: Break, error: float) -> list[Break]:
    """A break with those before and after it."""
    first, last = (found.end, found.end) if found.how is How.STEP else (found.start, found.end + 1)
    before, after = _explained(series, start, first, error), _explained(series, last, end, error)
    return [*before, found, *after]


def _stretches(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Shorter ones, of growing lengths, each overlapping the next by half."""
    length = FEWEST
    while length < end - start:
        firsts = range(start, end - length + 1, max(length // 2, 1))
        yield from ((first, first + length) for first in sorted({*firsts, end - length}))
        length = length * 3 // 2


def _bic(series: _Series, start: int, end: int, found: Sequence[Break]) -> float:
    """Of an explanation of a stretch: what it leaves, and what it costs in parameters; less is better."""
    count, values = end - start, series.values
    moved = [replace(one, start=one.start - start, end=one.end - start) for one in found]
    fitted = levels(values[start:end], moved)
    left = math.fsum((value - level) ** 2 for value, level in zip(values[start:end], fitted, strict=True))
    floor = _EQUAL * max(math.fsum(value**2 for value in values[start:end]), math.ulp(0.0))
    return count * math.log(max(left, floor) / count) + (1 + 2 * len(found)) * math.log(count)


def _step(series: _Series, start: int, end: int) -> Break:
    """The two levels that explain most."""
    values = series.values
    places = range(start + _SIDE, end - _SIDE + 1)
    left, place = min((_squares(values[start:at]) + _squares(values[at:end]), at) for at in places)
    before, after = statistics.fmean(values[start:place]), statistics.fmean(values[place:end])
    spread = 1 / (place - start) + 1 / (end - place)
    squares = spread * series.squares(start, end, left)
    error = min(1.0, len(places) * _two_sided(after - before, squares, end - start - 2, values[start:end]))
    return Break(how=How.STEP, start=place - 1, end=place, before=before, after=after, error=error)


def _line(series: _Series, start: int, end: int) -> Break:
    """The straight line that explains most."""
    count, values = end - start, series.values
    line = statistics.linear_regression(range(count), values[start:end])
    fitted = [line.intercept + line.slope * place for place in range(count)]
    left = math.fsum((value - level) ** 2 for value, level in zip(values[start:end], fitted, strict=True))
    spread = 12 / (count * (count**2 - 1))
    squares = spread * series.squares(start, end, left)
    error = _two_sided(line.slope, squares, count - 2, values[start:end])
    return Break(how=How.CREEP, start=start, end=end - 1, before=fitted[0], after=fitted[-1], error=error)


def _squares(values: Sequence[float]) -> float:
    middle = statistics.fmean(values)
    return math.fsum((value - middle) ** 2 for value in values)


def _two_sided(effect: float, squares: float, freedom: int, values: Sequence[float]) -> float:
    """How probably chance alone gives such an effect, or a larger one (Student's t).

    Args:
        effect: what was found.
        squares: those left over, times what the effect's variance is of one value's.
        freedom: degrees of freedom of the squares.
        values: of the stretch.
    """
    rounding = _EQUAL * max(math.fsum(value**2 for value in values), math.ulp(0.0))
    if effect**2 <= rounding:
        return 1.0
    if squares <= rounding:
        return 0.0
    t_squared = effect**2 / (squares / freedom)
    return beta_cdf(freedom / 2, 0.5, freedom / (freedom + t_squared))
