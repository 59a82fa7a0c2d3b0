"""Thousands of simulated runs at once, look by look, judged by the functions that judge gates."""

from __future__ import annotations

import functools
from dataclasses import fields, is_dataclass, replace

import numpy as np

from pytest_llmperf.judge.gates.limit_verdicts import interval_of
from pytest_llmperf.judge.regression.decision_rule import Look, decide
from pytest_llmperf.judge.regression.effect_scale import Scale
from pytest_llmperf.judge.regression.paired_rounds import PairsModel
from pytest_llmperf.judge.regression.session_means import SessionMeansModel
from pytest_llmperf.judge.regression.session_spread import SessionSpread
from pytest_llmperf.judge.regression.stored_sessions import ASSUMED_SPREAD_PP, HistoryModel, StoredRounds
from pytest_llmperf.judge.stats.betting import log_capital, log_target
from pytest_llmperf.judge.stats.confidence_intervals import alpha_of_look, mean_ends, student_ends
from pytest_llmperf.judge.stats.row_statistics import row_steps
from pytest_llmperf.judge.stats.summary import Aggregate, Shape
from pytest_llmperf.model import Bound, Gate

PASS, FAIL, OPEN = 1, 2, 0
FIRST = 5
"""Rounds of the first look."""
MEANS_AT_ONCE = 1000
"""Comparisons of session means in memory at once: each has hundreds of variances."""


def judge_sessions(scale: Scale, sessions, values, *, median: bool, delta: float, gates: int = 1):
    """Whole runs against stored sessions (runs, sessions, rounds), new rounds (runs, rounds): outcomes and rounds."""
    aggregate = Aggregate.MEDIAN if median else Aggregate.MEAN

    @functools.cache
    def stored(length: int) -> StoredRounds:
        return StoredRounds.of(aggregate, scale, [sessions[..., :length]])

    def model_of(rows, n: int):
        kept = rows_of(stored(min(n, sessions.shape[-1])), rows)
        return HistoryModel.of(aggregate, scale, kept, values[rows, :n], assumed=ASSUMED_SPREAD_PP)

    usual = by_rule(model_of, scale, delta, gates)

    def look_at(rows, n: int, looks: int):
        longest = min(n, sessions.shape[-1])
        drifts = rows_of(stored(longest), rows).drifts_with(scale.to_loss(values[rows, :n]))
        decided = np.zeros((2, len(rows)), dtype=bool)
        for some, count in ((drifts, longest), (~drifts, n)):
            if some.any():
                decided[:, some] = usual(rows[some], count, looks, last=n == values.shape[-1])
        return decided

    return whole_runs(values.shape, look_at)


def judge_pairs(scale: Scale, incumbent, candidate, *, delta: float, gates: int = 1):
    """Whole runs of interleaved pairs, each side of shape (runs, rounds): outcomes and rounds."""

    def model_of(rows, n: int):
        last = n == candidate.shape[-1]
        return PairsModel.of(scale, incumbent[rows, :n], candidate[rows, :n], last=last)

    return whole_runs(candidate.shape, by_rule(model_of, scale, delta, gates))


def judge_session_means(scale: Scale, standard, candidate, *, delta: float):
    """Sessions against sessions, shape (runs, sessions, rounds), as `pytest-llmperf compare` judges: outcomes."""
    look = Look(looks=1, last=True)
    outcomes = []
    for start in range(0, len(standard), MEANS_AT_ONCE):
        rows = slice(start, start + MEANS_AT_ONCE)
        model = SessionMeansModel.of(Aggregate.MEAN, scale, standard[rows], candidate[rows])
        decisions = decide(model.null_distribution(), model.shift, scale, delta, look)
        outcomes.append(np.where(decisions.passed, PASS, np.where(decisions.failed, FAIL, OPEN)))
    return np.concatenate(outcomes)


def judge_limit(values, limit: float, shape: Shape, sessions=None):
    """Whole runs of a limit gate, a minimum of the mean, values of shape (runs, rounds): outcomes and rounds.

    With stored sessions (runs, sessions, rounds), the intervals include their spread.
    """

    @functools.cache
    def spread(length: int) -> SessionSpread | None:
        return SessionSpread.of(Aggregate.MEAN, [sessions[..., :length]])

    def look_at(rows, n: int, looks: int):
        alpha = alpha_of_look(looks, last=n == values.shape[-1])
        low, high = student_ends(values[rows, :n], alpha)
        # All else makes an interval only wider: one that is open without needs no closer look.
        (closer,) = np.nonzero((low >= limit) | (high < limit))
        low[closer], high[closer] = mean_ends(values[rows[closer], :n], alpha, shape)
        if sessions is not None and (known := spread(min(n, sessions.shape[-1]))) is not None:
            (closer,) = np.nonzero((low >= limit) | (high < limit))
            if len(closer):
                middle, own = values[rows[closer], :n].mean(axis=-1), rows_of(known, rows[closer])
                low[closer] = middle - own.widened(middle - low[closer], alpha)
                high[closer] = middle + own.widened(high[closer] - middle, alpha)
        half = row_steps(values[rows, :n]) / 2
        return low - half >= limit, high + half < limit

    return whole_runs(values.shape, look_at)


def judge_gate(metric: str, values, limit: float, bound: Bound):
    """Whole runs of any limit gate, one by one: the interval that its verdict is made of."""
    gate = Gate(marker="limit", metric=metric, bound=bound, limit=limit, source="simulated")
    least = bound is Bound.MIN

    def look_at(rows, n: int, looks: int):
        look = Look(looks=looks, last=n == values.shape[-1])
        ends = [interval_of(gate, values[row, :n].tolist(), look) for row in rows]
        low, high = np.array([(end.low, end.high) for end in ends]).T
        return (low >= limit, high < limit) if least else (high <= limit, low > limit)

    return whole_runs(values.shape, look_at)


def judge_betting(values, limit: float, ceiling: float, *, every: int):
    """Whole runs of a limit gate that bets, with a look after every `every` rounds: outcomes and rounds."""

    def look_at(rows, n: int, _: int):
        if n % every:
            return np.zeros(len(rows), bool), np.zeros(len(rows), bool)
        taken, half = values[rows, :n], row_steps(values[rows, :n])[:, None] / 2
        passed = log_capital(taken, limit + half) >= log_target()
        return passed, log_capital(ceiling - taken, ceiling - limit + half) >= log_target()

    return whole_runs(values.shape, look_at)


def by_rule(model_of, scale: Scale, delta: float, gates: int):
    """Looks by the regression rule at n rounds; `last` overrides whether a look is the last."""

    def look_at(rows, n: int, looks: int, last: bool | None = None):
        model = model_of(rows, n)
        look = Look(looks=looks, last=n == FIRST + looks - 1 if last is None else last, gates=gates)
        decisions = decide(model.null_distribution(n), model.shift, scale, delta, look)
        return decisions.passed, decisions.failed

    return look_at


def whole_runs(shape: tuple[int, int], look_at):
    """A look after each round from FIRST to the last there is, until all runs are decided: outcomes and rounds.

    Args:
        shape: runs, and most rounds of each.
        look_at: takes numbers of runs, the rounds so far, and the looks of a session; which of them pass, and fail.
    """
    runs, most = shape
    outcomes, rounds, rows = np.full(runs, OPEN), np.full(runs, most), np.arange(runs)
    for n in range(FIRST, most + 1):
        passed, failed = look_at(rows, n, most - FIRST + 1)
        outcomes[rows], rounds[rows] = np.where(passed, PASS, np.where(failed, FAIL, OPEN)), n
        rows = rows[outcomes[rows] == OPEN]
        if not len(rows):
            break
    return outcomes, rounds


def rows_of(value, rows):
    """A dataclass of arrays with these rows only."""
    if is_dataclass(value):
        return replace(value, **{item.name: rows_of(getattr(value, item.name), rows) for item in fields(value)})
    return value[rows] if isinstance(value, np.ndarray) else value
