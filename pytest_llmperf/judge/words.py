"""Reasons of verdicts: what the evidence says, and what would say more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmperf.judge.intervals import MOST_ROUNDS
from pytest_llmperf.model import Outcome

if TYPE_CHECKING:
    from pytest_llmperf.judge.drop import Drop
    from pytest_llmperf.judge.regression import StoredDrop

_TYPED = 4
"""Decimals of a limit that somebody may have typed."""


def drop_words(drop: Drop, delta: float, stored: StoredDrop | None = None, paired: str = "") -> str:
    """A drop, its interval, what was charged, and what would be needed where it is not decided.

    Args:
        drop: to put in words.
        delta: the smallest change that matters.
        stored: where it is from stored sessions.
        paired: where it is from pairs: how many, see `rounds_words`.
    """
    charged = f"; {stored.spread}" if stored else ""
    pairs = f", paired over {paired}" if paired else ""
    text = (
        f"{'drop' if paired else 'worse by'} {drop.estimate:.1f} {drop.unit} (interval {drop.low:.1f} to "
        f"{drop.high:.1f}{charged}){pairs}, {delta:g} {drop.unit} matter"
    )
    if drop.floored:
        return f"{text}; so large a drop fails in any case"
    if drop.outcome is not Outcome.INCONCLUSIVE:
        return text
    sessions = stored.sessions_needed if stored else None
    ways = [f"about {drop.rounds_needed} rounds"] if drop.rounds_needed else []
    ways += [f"{sessions} stored sessions"] if sessions else []
    if ways:
        return f"{text}; {' or '.join(ways)} would tell{'' if drop.rounds_needed else ' more'}"
    if stored is None:
        return f"{text}; more than {MOST_ROUNDS} rounds would be needed"
    return f"{text}; neither rounds nor sessions would tell: the spread between sessions asks for a larger delta"


def needed_words(rounds: int | None) -> str:
    """The estimate of what would decide a limit gate."""
    if rounds is None:
        return f"more than {MOST_ROUNDS} rounds would be needed: the value is too near the limit"
    return f"about {rounds} rounds would be needed"


def rounds_words(n: int) -> str:
    """`1 round`, `5 rounds`."""
    return f"{n} round{'' if n == 1 else 's'}"


def figure_words(value: float, limit: float | None = None) -> str:
    """A figure for a sentence; beside a limit, with as many digits as tell it from that."""
    usual = f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    if limit is None or (float(usual) > limit, float(usual) < limit) == (value > limit, value < limit):
        return usual
    more = (f"{value:.{digits}g}" for digits in range(5, 17))
    return next((one for one in more if (float(one) > limit) == (value > limit) and float(one) != limit), usual)


def limit_words(limit: float) -> str:
    """A limit for a sentence: as it was typed, else with all digits that can matter."""
    return typed(limit) or f"{limit:.8g}"


def typed(limit: float) -> str:
    """A limit as somebody may have typed it; empty where it has more decimals than anybody types: it was computed."""
    return f"{limit:.12g}" if math.isclose(limit, round(limit, _TYPED), rel_tol=1e-12) else ""
