"""Values and limits with their units, with enough digits to tell a value from its limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.judge.gates.reasons import typed
from pytest_llmperf.judge.metrics.series import CATALOGUE, Aggregate
from pytest_llmperf.model import Verdict

_DECIMALS = {"%": 1, "pp": 1, "ms": 0, "tok/s": 1, "x": 2, "ratio": 3, "C": 0}

_MOST_DIGITS = 7
"""More of them than usual tell nothing that a reader asks for."""


def amount(value: float | None, metric: str, more: int = 0) -> str:
    """A value with its unit, e.g. `81.2 %`; rates of rounds in percent; `no value` if there is none.

    Args:
        value: in the metric's unit.
        metric: in the catalogue.
        more: digits more than usual, see `digits_apart`.
    """
    return "no value" if value is None else f"{figure(value, metric, more)} {_unit(metric)}"


def limit_amount(limit: float, metric: str, more: int = 0) -> str:
    """A limit with its unit, as it was given: `95.0 %`, `99.99 %`; one that was computed like any value."""
    return f"{_limit_figure(limit, metric, more)} {_unit(metric)}"


def digits_apart(metric: str, limit: float, values: Sequence[float | None]) -> int:
    """How many digits more than usual it takes until each value, as it is shown, lies where it lies of the limit.

    Args:
        metric: in the catalogue.
        limit: as `limit_amount` shows it.
        values: that a reader compares with it; None: there is none.

    Returns:
        0 where the usual ones do, and where none tell.
    """
    for more in range(_MOST_DIGITS):
        shown = float(_limit_figure(limit, metric, more))
        sides = ((float(figure(one, metric, more)) - shown, one - limit) for one in values if one is not None)
        if all((shown > 0) == (real > 0) and (shown < 0) == (real < 0) for shown, real in sides):
            return more
    return 0


def digits_of(verdict: Verdict) -> int:
    """How many digits more than usual tell a verdict's value and interval from its limit.

    The interval of a comparison is that of the value alone, which nobody compares with the stored centre.
    """
    gate = verdict.gate
    ends = () if gate.delta is not None else (verdict.low, verdict.high)
    return digits_apart(gate.metric, gate.limit, (verdict.value, *ends))


def digits_in(verdict: Mapping[str, Any]) -> int:
    """The same of a verdict in a session's document."""
    gate = verdict["gate"]
    ends = () if gate["delta"] is not None else (verdict["low"], verdict["high"])
    return digits_apart(gate["metric"], gate["limit"], (verdict["value"], *ends))


def _unit(metric: str) -> str:
    found = CATALOGUE[metric]
    return "%" if found.aggregate is Aggregate.RATE else found.unit


def figure(value: float, metric: str, more: int = 0) -> str:
    """A value without its unit."""
    found = CATALOGUE[metric]
    if found.aggregate is Aggregate.RATE:
        return f"{100 * value:.{3 + more}g}"
    return f"{value:.{_DECIMALS.get(found.unit, 2) + more}f}"


def _limit_figure(limit: float, metric: str, more: int) -> str:
    """A limit without its unit: no digit is rounded away of one that somebody typed."""
    given = 100 * limit if CATALOGUE[metric].aggregate is Aggregate.RATE else limit
    usual, exact = figure(limit, metric), typed(given)
    if not exact:
        return figure(limit, metric, more)
    return usual if float(usual) == float(exact) else exact
