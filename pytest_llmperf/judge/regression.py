"""How much worse than the stored sessions: the drop, and how far it may be off.

Three errors are charged, each by its own quantile, and added as squares (Banerjee 1960: conservative for
independent normal components):

- that of the new rounds, at the error of one look (the mean is estimated anew at each look);
- that of the stored rounds, and the spread between sessions. Both are drawn once and stay the same over all looks
  of a session, so they are charged at the full error, not at that of one look.

The spread between sessions is estimated from the stored sessions once there are SESSIONS_FOR_SPREAD of them. The
centres of the sessions then carry the error of the stored rounds within. Below that number it is assumed:
ASSUMED_SPREAD_PP or ASSUMED_SPREAD_PCT, or what was observed, if that is more.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.catalogue import Aggregate
from pytest_llmperf.judge.intervals import CONFIDENCE_PCT, MEDIAN_FACTOR, alpha_of_look
from pytest_llmperf.judge.quantiles import t_quantile
from pytest_llmperf.judge.stats import centre, check_finite
from pytest_llmperf.model import Bound

if TYPE_CHECKING:
    from collections.abc import Sequence

ASSUMED_SPREAD_PP = 1.2
"""Assumed standard deviation between sessions of percentages of ratio class, in points."""

ASSUMED_SPREAD_PCT = 5.0
"""Assumed standard deviation between sessions of every other metric, percent of the baseline."""

SESSIONS_FOR_SPREAD = 4
"""From so many stored sessions on their spread is taken from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """The change for the worse: positive is worse.

    Attributes:
        estimate, low, high: in `unit`, with the interval at CONFIDENCE_PCT over all looks.
        unit: `pp`, or `%` of the baseline's centre.
        spread: where the spread between sessions came from, in words.
    """

    estimate: float
    low: float
    high: float
    unit: str
    spread: str


def reference_centre(aggregate: Aggregate, sessions: Sequence[Sequence[float]]) -> float:
    """The stored sessions' centre: the mean of each session's own, so that long sessions do not drown short ones.

    Args:
        aggregate: of the metric.
        sessions: one or more, each with one value a round.

    Raises:
        MeasurementError: no session, an empty one, or a value that is not finite.
    """
    if not sessions:
        raise MeasurementError("the stored baseline has no session")
    return statistics.fmean(centre(aggregate, values) for values in sessions)


def drop_of(
    *,
    aggregate: Aggregate,
    bound: Bound,
    in_points: bool,
    base: float,
    sessions: Sequence[Sequence[float]],
    values: Sequence[float],
    looks: int,
) -> Drop | None:
    """The drop from the stored sessions to the new rounds.

    Args:
        aggregate: mean or median.
        bound: which side is good.
        in_points: state it in the metric's own points, else in percent of `base`.
        base: the stored baseline's centre.
        sessions: the stored rounds' values, one sequence a session.
        values: the new rounds' values.
        looks: how often the session looks.

    Returns:
        None when a spread cannot be known: one new round, or stored sessions of one round each.

    Raises:
        MeasurementError: a value is not finite, or the base is 0 and percent of it are asked for.
    """
    check_finite((base, *values))
    for stored in sessions:
        check_finite(stored)
    if not in_points and base == 0:
        raise MeasurementError("the stored baseline's centre is 0: a change in percent of it is undefined")
    scale = 1.0 if in_points else 100 / abs(base)
    alpha, factor = alpha_of_look(looks), MEDIAN_FACTOR if aggregate is Aggregate.MEDIAN else 1.0
    if len(values) < 2:
        return None
    new = t_quantile(1 - alpha / 2, len(values) - 1) * factor * statistics.stdev(values) / math.sqrt(len(values))
    fixed = _fixed_error(aggregate, sessions, factor, (ASSUMED_SPREAD_PP if in_points else ASSUMED_SPREAD_PCT) / scale)
    if fixed is None:
        return None
    half, spread = math.hypot(new, fixed[0]), fixed[1]
    change = centre(aggregate, values) - base
    worse = (-change if bound is Bound.MIN else change) * scale
    return Drop(
        estimate=worse,
        low=worse - half * scale,
        high=worse + half * scale,
        unit="pp" if in_points else "%",
        spread=spread,
    )


def _fixed_error(
    aggregate: Aggregate, sessions: Sequence[Sequence[float]], factor: float, assumed: float
) -> tuple[float, str] | None:
    """Half-width of the errors that stay the same over a session, in the metric's unit, and the spread in words."""
    full = 1 - (1 - CONFIDENCE_PCT / 100) / 2
    count = len(sessions)
    centres = [centre(aggregate, values) for values in sessions]
    # This session deviates like one of them, and the mean of the stored ones by a share of that.
    both = math.sqrt(1 + 1 / count)
    if count >= SESSIONS_FOR_SPREAD:
        between = t_quantile(full, count - 1) * statistics.stdev(centres) * both
        return between, f"spread between {count} stored sessions charged"
    freedom = sum(len(values) - 1 for values in sessions)
    if freedom < 1:
        return None
    within = sum((len(values) - 1) * statistics.variance(values) for values in sessions if len(values) > 1) / freedom
    stored = factor * math.sqrt(within * sum(1 / len(values) for values in sessions)) / count
    observed = statistics.stdev(centres) if count > 1 else 0.0
    between = t_quantile(full, math.inf) * max(assumed, observed) * both
    named = f"{count} stored session{'s' if count > 1 else ''}"
    spread = f"{named}: a spread between sessions assumed, save {SESSIONS_FOR_SPREAD - count} more to have it measured"
    return math.hypot(t_quantile(full, freedom) * stored, between), spread
