"""Reasons of verdicts: what the evidence says, and what would say more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.roots import MOST_ROUNDS
from pytest_llmperf.model import Outcome

if TYPE_CHECKING:
    from pytest_llmperf.judge.regression.decision_rule import ChangeEstimate
    from pytest_llmperf.judge.regression.stored_change import StoredChange

_TYPED = 4
"""Decimals of a limit that a person may have typed."""

_LOSS = {
    Outcome.PASS: "a loss of {} or more is excluded",
    Outcome.FAIL: "more than noise explains; delta is {}",
    Outcome.INCONCLUSIVE: "a loss of {} or more is not excluded",
}
"""What a reason says about delta, by outcome."""


def change_words(worse_by: float, unit: str) -> str:
    """A change by its direction: `worse by 3.0 pp`, `better by 0.9 %`."""
    return f"{'better' if worse_by < 0 else 'worse'} by {abs(worse_by):.1f} {unit}"


def signed(change: float) -> str:
    """A change with its sign, one decimal: `+3.0`, `-0.1`; `0.0` if nothing of it is left.

    >>> signed(3), signed(-0.06), signed(-0.04), signed(0)
    ('+3.0', '-0.1', '0.0', '0.0')
    """
    text = f"{change:+.1f}"
    return text if float(text) else "0.0"


def change_reason(
    change: ChangeEstimate,
    delta: float,
    stored: StoredChange | None = None,
    pairs: int = 0,
    *,
    each_side: bool = False,
) -> str:
    """A change, its interval in the same direction, and what would be needed if it is not decided.

    Args:
        change: the change to describe.
        delta: the smallest change that counts.
        stored: the model of the stored sessions, for a change from them.
        pairs: the number of pairs, for a mean difference of pairs.
        each_side: whether both sides need the stated number of sessions.
    """
    spread = f"; {stored.spread}" if stored else ""
    low, high = (-change.high, -change.low) if change.estimate < 0 else (change.low, change.high)
    mean = f", the mean of {pairs} pairs" if pairs else ""
    text = (
        f"{change_words(change.estimate, change.unit)} (95 % CI {low:.1f} to {high:.1f}{spread}){mean}; "
        f"{_LOSS[change.outcome].format(f'{delta:g} {change.unit}')}"
    ) + (f"; {change.caveat}" if change.caveat else "")
    if change.floored:
        return f"{text}; a change this large need not wait for the last look"
    if change.outcome is not Outcome.INCONCLUSIVE:
        return text
    sessions = stored.sessions_needed if stored else None
    if change.rounds_needed:
        more = f" or {sessions} stored sessions" if sessions else ""
        return f"{text}; about {change.rounds_needed} rounds{more} would decide it"
    if sessions:
        more = f"about {sessions} sessions on each side would decide it" if each_side else ""
        return f"{text}; {more or f'{sessions} stored sessions would say more'}"
    if stored is None:
        return f"{text}; more than {MOST_ROUNDS} rounds would be needed"
    return f"{text}; more data cannot decide this: sessions differ by about as much as delta; use a larger delta"


def needed_words(rounds: int | None) -> str:
    """The estimated number of rounds that would decide a limit gate."""
    if rounds is None:
        return f"more than {MOST_ROUNDS} rounds would be needed: the value is too near the limit"
    return f"about {rounds} rounds would be needed"


def more_words(rounds: int | None, taken: int) -> str:
    """The same for a gate that bets, with the rounds that are still missing."""
    return needed_words(rounds) + (f", {max(rounds - taken, 1)} more" if rounds is not None else "")


def rounds_words(n: int) -> str:
    """`1 round`, `5 rounds`."""
    return f"{n} round{'' if n == 1 else 's'}"


def figure_words(value: float, limit: float | None = None) -> str:
    """A figure for a sentence; beside a limit, with as many digits as tell it from that."""
    usual = f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    if limit is None or (float(usual) > limit, float(usual) < limit) == (value > limit, value < limit):
        return usual
    more = (f"{value:.{digits}g}" for digits in range(5, 17))
    return next((text for text in more if (float(text) > limit) == (value > limit) and float(text) != limit), usual)


def limit_words(limit: float) -> str:
    """A limit for a sentence: as it was typed, else with all digits that can matter."""
    return typed(limit) or f"{limit:.8g}"


def typed(limit: float) -> str:
    """A limit as a person may have typed it; empty if it has more decimals, since it was computed."""
    return f"{limit:.12g}" if math.isclose(limit, round(limit, _TYPED), rel_tol=1e-12) else ""
