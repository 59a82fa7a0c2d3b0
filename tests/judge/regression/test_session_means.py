"""Two sets of sessions compared by the means of sessions: detected changes, undetected ones, and refused input."""

import numpy as np
import pytest
from scipy import stats

from pytest_llmperf.judge.regression.decision_rule import Look, decide
from pytest_llmperf.judge.regression.effect_scale import Scale
from pytest_llmperf.judge.regression.session_means import SessionMeansModel, change_of_means, common_rounds
from pytest_llmperf.judge.stats.summary import Aggregate
from pytest_llmperf.model import Bound, Outcome

PP = Scale(bound=Bound.MAX, unit="pp")


def sides(runs: int, first: int, second: int, *, tau: float, drop: float = 0.0, seed: int = 1):
    """Rounds of both sides as losses, shape (runs, sessions, 5); the second is worse by the drop."""
    rng = np.random.default_rng(seed)
    return [
        1.21 * rng.standard_normal((runs, count, 5)) + tau * rng.standard_normal((runs, count, 1)) + worse
        for count, worse in ((first, 0.0), (second, drop))
    ]


def changed(standard, candidate, **given):
    """Efficiency with a delta of 2 points."""
    whole = {"aggregate": Aggregate.MEAN, "bound": Bound.MIN, "base": None, "delta": 2.0, "gates": 1}
    return change_of_means(standard=standard, candidate=candidate, **{**whole, **given})


def test_a_drop_that_one_session_cannot_show() -> None:
    """Twelve sessions against twelve that differ from each other by more than delta: 3 points are beyond chance."""
    standard = [[98 + 1.3 * (-1) ** day + 0.1 * turn for turn in range(5)] for day in range(12)]
    worse = [[value - 3 for value in session] for session in standard]
    result = changed(standard, worse)
    assert result is not None
    assert (result.change.outcome, result.change.unit) == (Outcome.FAIL, "pp")
    assert result.change.estimate == pytest.approx(3)
    assert result.spread == "12 sessions against 12"
    same = changed(standard, standard)
    assert same is not None
    assert (same.change.outcome, same.sessions_needed) == (Outcome.PASS, None)


def test_what_would_decide_is_said() -> None:
    """Four against four: undecided, and how many sessions on each side would do."""
    standard = [[98 + level + 0.1 * turn for turn in range(5)] for level in (-1.2, 0.4, 1.1, -0.3)]
    result = changed(standard, [[value - 1.8 for value in session] for session in standard])
    assert result is not None
    assert result.change.outcome is Outcome.INCONCLUSIVE
    assert result.sessions_needed is not None
    assert 5 <= result.sessions_needed <= 30


def test_drift_within_sessions_cancels() -> None:
    """All sessions are cut to the length of the shortest."""
    short, long = ([[98 - 0.5 * turn + 0.01 * day for turn in range(n)] for day in range(5)] for n in (4, 12))
    result = changed(short, long)
    assert result is not None
    assert result.change.estimate == pytest.approx(0, abs=1e-9)
    assert result.change.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("first", "second", "rounds", "common"),
    [(3, 8, 5, None), (8, 3, 5, None), (9, 4, 5, None), (8, 4, 5, 5), (4, 4, 2, None)],
)
def test_where_the_means_of_sessions_are_compared(first: int, second: int, rounds: int, common: int | None) -> None:
    """Each side needs four sessions of three rounds; the candidate needs at least half the standard's number."""
    standard, candidate = ([[1.0] * (rounds + day) for day in range(count)] for count in (first, second))
    assert common_rounds(standard, candidate) == common


def test_many_sessions_are_as_welch() -> None:
    """With many sessions the p-value is that of Welch's t by scipy."""
    standard, candidate = sides(5, 40, 30, tau=0.8, drop=0.4)
    model = SessionMeansModel.of(Aggregate.MEAN, PP, standard - 100, candidate - 100)
    tails = model.null_distribution().upper_tail(model.shift)
    welch = stats.ttest_ind(candidate.mean(-1), standard.mean(-1), axis=-1, equal_var=False, alternative="greater")
    assert tails == pytest.approx(welch.pvalue, rel=0.2)


@pytest.mark.parametrize(("first", "second"), [(12, 12), (4, 8), (8, 4)])
def test_error_and_power(first: int, second: int) -> None:
    """At most 1 % of false alarms (and 3 standard errors); 12 against 12 find 75 and 98 % of 2 and 3 points."""
    look = Look(looks=1, last=True)

    def failing(drop: float, runs: int) -> float:
        model = SessionMeansModel.of(Aggregate.MEAN, PP, *sides(runs, first, second, tau=1.2, drop=drop))
        return float(decide(model.null_distribution(), model.shift, PP, 2.0, look).failed.mean())

    assert failing(0, 1000) <= 0.01 + 3 * (0.01 * 0.99 / 1000) ** 0.5
    if first == second:
        assert failing(2, 400) >= 0.75
        assert failing(3, 400) >= 0.97
