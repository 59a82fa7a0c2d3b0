"""The change from stored sessions for one gate: judged, put in words, and how many sessions would decide it."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llmperf.judge.regression.decision_rule import ChangeEstimate, Look, estimate_change, outcome_of
from pytest_llmperf.judge.regression.effect_scale import Scale, scale_of
from pytest_llmperf.judge.regression.stored_sessions import (
    ASSUMED_SPREAD_PCT,
    ASSUMED_SPREAD_PP,
    SESSIONS_FOR_SPREAD,
    HistoryModel,
    StoredRounds,
)
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.roots import first_rounds
from pytest_llmperf.judge.stats.summary import Aggregate, check_finite
from pytest_llmperf.model import Bound, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.stats.row_statistics import Array

MOST_SESSIONS = 200
"""The largest number of sessions that is tried when estimating how many would decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChange:
    """A change from stored sessions.

    Attributes:
        change: see ChangeEstimate.
        spread: where the spread between sessions comes from, in words.
        sessions_needed: number of stored sessions that would decide, if all else stayed; None: decided, or no number.
    """

    change: ChangeEstimate
    spread: str
    sessions_needed: int | None


def change_from_sessions(
    *,
    aggregate: Aggregate,
    bound: Bound,
    base: float | None,
    delta: float,
    sessions: Sequence[Sequence[float]],
    values: Sequence[float],
    look: Look,
) -> StoredChange | None:
    """The change from the stored sessions to the new rounds.

    Args:
        aggregate: mean or median.
        bound: which side is good.
        base: the stored baseline's centre, that changes are percentages of; None: in the metric's own points.
        delta: the smallest change that matters.
        sessions: the stored rounds' values, one sequence a session.
        values: the new rounds' values.
        look: the current look.

    Returns:
        None if no variance can be estimated: one new round, or stored sessions of one round each.

    Raises:
        MeasurementError: no session, a value that is not finite, or changes in percent of a base of 0.
    """
    check_finite(values if base is None else (base, *values))
    for session in sessions:
        check_finite(session)
    n, least = len(values), min((*values, *(min(session) for session in sessions)))
    scale = scale_of(bound=bound, base=base, delta=delta, least=least)
    if n < 2:
        return None
    stored = StoredRounds.of(aggregate, scale, grouped([session[:n] for session in sessions]))
    if drifts := bool(stored.drifts_with(scale.to_loss(values))):
        n = max(stored.lengths)
        values = values[:n]
    assumed = scale.shift(ASSUMED_SPREAD_PP if base is None else ASSUMED_SPREAD_PCT)
    model = HistoryModel.of(aggregate, scale, stored, np.asarray(values, dtype=float), assumed=assumed)
    if model is None:
        return None
    change = estimate_change(
        model.null_distribution,
        rounds=n,
        shift=float(model.shift),
        scale=scale,
        delta=delta,
        look=look,
        round_sd=math.sqrt(model.sampling.moments(1)[0]),
    )
    if drifts:
        words = f"rounds of a session drift, so only the first {n} count, as many as the stored sessions have"
        change = replace(change, rounds_needed=None, caveat=words)
    return _stored_change(model, change, n, scale=scale, delta=delta, look=look)


def _stored_change(
    model: HistoryModel, change: ChangeEstimate, n: int, *, scale: Scale, delta: float, look: Look
) -> StoredChange:
    """The change after n rounds with where the spread between sessions comes from, and the sessions that are needed."""
    count, needed = model.stored.count, None
    if count < SESSIONS_FOR_SPREAD:
        more = SESSIONS_FOR_SPREAD - count
        spread = f"with {_sessions(count)}, the spread between sessions is assumed; save {more} more to measure it"
        return StoredChange(change=change, spread=spread, sessions_needed=SESSIONS_FOR_SPREAD)
    if change.outcome is Outcome.INCONCLUSIVE:
        final = replace(look, last=True)

        def decided(sessions: int) -> bool:
            null = model.null_distribution(n, sessions)
            return outcome_of(null, float(model.shift), scale, delta, final)[0] is not Outcome.INCONCLUSIVE

        needed = first_rounds(decided, count + 1, MOST_SESSIONS)
    between = float(scale.change(model.spread()))
    return StoredChange(
        change=change,
        spread=f"includes the spread between {count} stored sessions, about {between:.1f} {scale.unit}",
        sessions_needed=needed,
    )


def grouped(sessions: Sequence[Sequence[float]]) -> tuple[Array, ...]:
    """Sessions of equal length together, each group an array of shape (sessions, rounds)."""
    groups: dict[int, list[Sequence[float]]] = defaultdict(list)
    for session in sessions:
        groups[len(session)].append(session)
    return tuple(np.array(group, dtype=float) for group in groups.values())


def _sessions(count: int) -> str:
    """`1 stored session`, `3 stored sessions`."""
    return f"{count} stored session{'' if count == 1 else 's'}"
