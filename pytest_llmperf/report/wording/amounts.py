"""Values and limits with their units, with enough digits to tell a value from its limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.judge.gates.reasons import typed
from pytest_llmperf.judge.metrics.series import CATALOGUE, Aggregate
from pytest_llmperf.model import Verdict

_DECIMALS = {"%": 1, "pp": 1, "ms": 0, "s": 3, "tok/s": 1, "x": 2, "ratio": 3, "C": 0}

_SHARES = (Aggregate.RATE, Aggregate.REQUESTS)
"""Shares of rounds or requests, shown in percent."""

_MOST_DIGITS = 7
"""Upper limit on extra digits."""


def amount(value: float | None, metric: str, more: int = 0) -> str:
    """A value with its unit, e.g. `81.2 %`; shares are shown in percent, a missing value as `no value`.

    Args:
        value: the value in the metric's unit.
        metric: the metric's name in the catalogue.
        more: extra digits, see `digits_apart`.
    """
    return "no value" if value is None else f"{figure(value, metric, more)} {_unit(metric)}"


def limit_amount(limit: float, metric: str, more: int = 0) -> str:
    """A limit with its unit, as the user typed it: `95.0 %`, `99.99 %`; a computed limit is rounded like a value."""
    return f"{_limit_figure(limit, metric, more)} {_unit(metric)}"


def digits_apart(metric: str, limit: float, values: Sequence[float | None]) -> int:
    """Extra digits needed so that rounding never moves a value across its limit.

    Args:
        metric: the metric's name in the catalogue.
        limit: the limit as `limit_amount` shows it.
        values: the values shown beside the limit; None: no value.

    Returns:
        0 if no extra digits are needed, or if even the most would not help.
    """
    for more in range(_MOST_DIGITS):
        shown = float(_limit_figure(limit, metric, more))
        sides = ((float(figure(value, metric, more)) - shown, value - limit) for value in values if value is not None)
        if all((shown > 0) == (real > 0) and (shown < 0) == (real < 0) for shown, real in sides):
            return more
    return 0


def digits_of(verdict: Verdict) -> int:
    """Extra digits that keep a verdict's value and interval on their side of the limit.

    In a comparison only the value counts: its interval is not compared with the baseline's value.
    """
    gate = verdict.gate
    ends = () if gate.delta is not None else (verdict.low, verdict.high)
    return digits_apart(gate.metric, gate.limit, (verdict.value, *ends))


def digits_in(verdict: Mapping[str, Any]) -> int:
    """`digits_of` for a verdict in a session's document."""
    gate = verdict["gate"]
    ends = () if gate["delta"] is not None else (verdict["low"], verdict["high"])
    return digits_apart(gate["metric"], gate["limit"], (verdict["value"], *ends))


def _unit(metric: str) -> str:
    return "%" if CATALOGUE[metric].aggregate in _SHARES else CATALOGUE[metric].unit


def figure(value: float, metric: str, more: int = 0) -> str:
    """A value without its unit."""
    if CATALOGUE[metric].aggregate in _SHARES:
        return f"{100 * value:.{3 + more}g}"
    return f"{value:.{_DECIMALS.get(CATALOGUE[metric].unit, 2) + more}f}"


def _limit_figure(limit: float, metric: str, more: int) -> str:
    """A limit without its unit; a typed limit keeps all its digits."""
    given = 100 * limit if CATALOGUE[metric].aggregate in _SHARES else limit
    usual, exact = figure(limit, metric), typed(given)
    if not exact:
        return figure(limit, metric, more)
    return usual if float(usual) == float(exact) else exact
