"""Drops from stored sessions and between pairs, and the scales they are stated on."""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.regression.decision_rule import Look
from pytest_llmperf.judge.regression.effect_scale import Scale, scale_of
from pytest_llmperf.judge.regression.paired_rounds import change_between_pairs
from pytest_llmperf.judge.regression.stored_change import change_from_sessions, grouped
from pytest_llmperf.judge.regression.stored_sessions import HistoryModel, StoredRounds
from pytest_llmperf.judge.stats.distributions import t_quantile
from pytest_llmperf.judge.stats.summary import Aggregate, reference_centre
from pytest_llmperf.model import Bound, Outcome

GOOD = (98.0, 98.5, 98.2, 98.4, 98.1)
ONE = Look(looks=1, last=True)
SIXTEEN = Look(looks=16, last=True)
COMMON = {"aggregate": Aggregate.MEAN, "bound": Bound.MIN, "base": None, "delta": 2.0}
PAIRED = {"bound": Bound.MIN, "in_points": True, "delta": 2.0}


def sessions_of(rng: random.Random, count: int, rounds: int = 5, tau: float = 0.6) -> list[list[float]]:
    return [
        [98 + shift + rng.gauss(0, 1.2) for _ in range(rounds)] for shift in (rng.gauss(0, tau) for _ in range(count))
    ]


def model_of(sessions: Sequence[Sequence[float]], values: Sequence[float]) -> HistoryModel | None:
    scale = Scale(bound=Bound.MAX, unit="pp")
    stored = StoredRounds.of(Aggregate.MEAN, scale, grouped(sessions))
    return HistoryModel.of(Aggregate.MEAN, scale, stored, np.array(values), assumed=1.2)


def test_at_equal_length_it_is_students_test_of_session_centres() -> None:
    """20 sessions of 5 and 5 new rounds: the p-value of t with 19 degrees of freedom, whatever is within."""
    sessions = sessions_of(random.Random(3), 20, tau=3.0)
    centres = [statistics.fmean(session) for session in sessions]
    error = statistics.stdev(centres) * math.sqrt(1 + 1 / 20)
    middle = statistics.fmean(centres)
    for p in (0.01, 0.001):
        level = middle - t_quantile(1 - p, 19) * error
        change = change_from_sessions(
            **COMMON, sessions=sessions, values=[level + d for d in (0.5, -0.5, 0.2, -0.2, 0)], look=ONE
        )
        assert change.change.error_of_fail == pytest.approx(p, rel=0.01)
        assert change.change.estimate == pytest.approx(middle - level)


def test_more_rounds_help_where_sessions_are_alike_and_not_where_they_differ() -> None:
    """Without spread between sessions 20 rounds know four times as much; with a large one they know no more."""
    rng = random.Random(5)
    for tau, least, most in ((0.0, 0.3, 0.95), (6.0, 0.95, 1.0)):
        sessions = sessions_of(rng, 20, tau=tau)
        known = model_of(sessions, [rng.gauss(98, 1.2) for _ in range(5)])
        ratio = known.null_distribution(20).upper_quantile(0.01) / known.null_distribution(5).upper_quantile(0.01)
        assert least < ratio < most


def test_like_is_compared_with_like() -> None:
    """Only the first rounds of longer stored sessions count: later rounds change nothing."""
    rng = random.Random(6)
    sessions = sessions_of(rng, 6, rounds=12)
    changed = [[*plain[:5], *(value - 10 for value in plain[5:])] for plain in sessions]
    values = [98 + rng.gauss(0, 1) for _ in range(5)]
    plain, cut = (
        change_from_sessions(**COMMON, sessions=stored, values=values, look=SIXTEEN) for stored in (sessions, changed)
    )
    assert plain == cut


def test_few_sessions_charge_an_assumed_spread() -> None:
    """One to three sessions: 1.2 points or what they show; four: what they show. Each says what more would give."""

    def found(*sessions):
        return change_from_sessions(**COMMON, sessions=sessions, values=GOOD, look=ONE)

    def width(*sessions):
        return found(*sessions).change.high - found(*sessions).change.low

    shifted = [tuple(value + shift for value in GOOD) for shift in (0, 5, -5, 4)]
    assert "save 3 more" in found(GOOD).spread
    assert found(GOOD).sessions_needed == 4
    assert "includes the spread between 4 stored sessions" in found(*shifted).spread
    assert width(*[GOOD] * 4) < width(GOOD) < width(*shifted[:2]) < width(*shifted[:3])
    assert width(GOOD, (98.0,)) > 0  # a session of one round adds no spread of its own


def test_noisier_rounds_are_charged_their_own_noise() -> None:
    """A candidate whose rounds scatter ten times as much is not judged by the noise of the stored ones."""
    sessions = sessions_of(random.Random(8), 20, tau=0)
    calm, wild = (tuple(95.5 + k * shift for shift in (1, -1, 0.5, -0.5, 0)) for k in (1, 12))
    quiet, noisy = (
        change_from_sessions(**COMMON, sessions=sessions, values=values, look=ONE) for values in (calm, wild)
    )
    assert quiet.change.outcome is Outcome.FAIL
    assert noisy.change.outcome is Outcome.INCONCLUSIVE


def test_sessions_that_would_do() -> None:
    """A few more where sessions differ little; none, and no rounds either, where they differ by more than delta."""

    def found(*shifts):
        sessions = [[98 + shift + d for d in (0.3, -0.3, 0, 0.1, -0.1)] for shift in shifts]
        return change_from_sessions(**COMMON, sessions=sessions, values=[98.2, 97.9, 98.1, 97.8, 98.0], look=SIXTEEN)

    some, none = found(0.5, -0.5, 0.6, -0.6), found(8, -8, 5, -5)
    assert some.change.outcome is Outcome.INCONCLUSIVE
    assert 4 < some.sessions_needed < 30
    assert (none.change.outcome, none.sessions_needed, none.change.rounds_needed) == (Outcome.INCONCLUSIVE, None, None)


def test_what_cannot_be_known_is_none_and_what_is_missing_an_error() -> None:
    """One new round, sessions of one round; no session, percent of 0, unequal pairs."""
    median = {**COMMON, "aggregate": Aggregate.MEDIAN}
    assert change_from_sessions(**median, sessions=(GOOD,), values=(98.0,), look=ONE) is None
    assert change_from_sessions(**median, sessions=((98.0,),), values=GOOD, look=ONE) is None
    assert change_from_sessions(**COMMON, sessions=((98.0,),) * 4, values=GOOD, look=ONE) is not None
    assert model_of(((1.0,),) * 4, (1.0,)) is None
    with pytest.raises(MeasurementError, match="no session"):
        reference_centre(Aggregate.MEAN, ())
    with pytest.raises(MeasurementError, match="centre is 0"):
        change_from_sessions(**{**COMMON, "base": 0.0}, sessions=(GOOD,), values=GOOD, look=ONE)
    with pytest.raises(MeasurementError, match="5 rounds of the incumbent and 4"):
        change_between_pairs(**PAIRED, incumbent=GOOD, candidate=GOOD[:4], look=ONE)
    assert change_between_pairs(**PAIRED, incumbent=(98.0,), candidate=(97.0,), look=ONE) is None


@given(
    st.sampled_from(list(Bound)),
    st.booleans(),
    st.floats(0.1, 60),
    st.lists(st.floats(0.1, 1e4), min_size=1, max_size=5),
)
def test_scales_turn_changes_and_back(bound: Bound, in_points: bool, change: float, values: list[float]) -> None:
    """A change for the worse is positive on every scale, comes back as it went, and makes values worse."""
    scale = scale_of(bound=bound, base=None if in_points else values[0], delta=10.0, least=min(values))
    assert scale.shift(change) > 0
    assert scale.change(scale.shift(change)) == pytest.approx(change)
    worse = [value * (1 + change / 100 * (1 if bound is Bound.MAX else -1)) for value in values]
    for before, after in zip(scale.to_loss(values), scale.to_loss(worse), strict=True):
        assert after > before
        if not in_points:
            assert after - before == pytest.approx(scale.shift(change), rel=1e-6)


def test_logarithms_need_values_above_zero_and_room_to_fall() -> None:
    """A queue time of 0 is compared in percent of the base; so is a delta that leaves nothing."""
    assert scale_of(bound=Bound.MAX, base=10.0, delta=90.0, least=1.0).logs
    assert not scale_of(bound=Bound.MAX, base=10.0, delta=20.0, least=0.0).logs
    large = scale_of(bound=Bound.MIN, base=-50.0, delta=70.0, least=1.0)
    assert (large.logs, large.factor) == (False, 2)


@given(st.lists(st.floats(90, 100), min_size=5, max_size=20), st.floats(0.5, 20), st.integers(2, 20), st.booleans())
def test_worse_never_looks_better(values: list[float], less: float, looks: int, last: bool) -> None:
    """Taking the same from every round makes no fail a pass, and the error of a pass no smaller."""
    sessions = sessions_of(random.Random(11), 8)
    look = Look(looks=looks, last=last, gates=3)
    before = change_from_sessions(**COMMON, sessions=sessions, values=values, look=look).change
    after = change_from_sessions(**COMMON, sessions=sessions, values=[v - less for v in values], look=look).change
    assert after.error_of_pass >= before.error_of_pass - 1e-12
    assert after.error_of_fail <= before.error_of_fail + 1e-12
    order = [Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL]
    assert order.index(after.outcome) >= order.index(before.outcome)


def test_the_interval_agrees_with_the_outcome() -> None:
    """A fail excludes no drop, a pass excludes delta."""
    rng = random.Random(12)
    for _ in range(60):
        sessions = sessions_of(rng, 12, tau=0.3)
        values = [98 - rng.choice((0, 1, 2, 4)) + rng.gauss(0, 1.2) for _ in range(8)]
        drop = change_from_sessions(**COMMON, sessions=sessions, look=SIXTEEN, values=values).change
        if drop.outcome is Outcome.FAIL:
            assert drop.low > 0
        if drop.outcome is Outcome.PASS:
            assert drop.high < 2
        assert drop.low <= drop.estimate <= drop.high


def test_pairs_are_a_t_test_of_their_differences() -> None:
    """By hand; what both sides share cancels."""
    incumbent = (98.0, 95.0, 99.0, 92.0, 97.0)
    candidate = tuple(old - loss for old, loss in zip(incumbent, (2.9, 3.2, 3.0, 3.1, 2.8), strict=True))
    change = change_between_pairs(**PAIRED, incumbent=incumbent, candidate=candidate, look=SIXTEEN)
    assert change.outcome is Outcome.FAIL
    assert change.estimate == pytest.approx(3.0)
    margin = t_quantile(1 - SIXTEEN.fail_error, 4) * 0.158113883 / math.sqrt(5)
    assert change.low == pytest.approx(3.0 - margin, rel=1e-3)
    alike = tuple(value + 0.1 * (-1) ** index for index, value in enumerate(incumbent))
    same = change_between_pairs(**PAIRED, incumbent=incumbent, candidate=alike, look=replace(SIXTEEN, last=False))
    assert same.outcome is Outcome.PASS


def test_pairs_in_percent_of_what_less_is_better() -> None:
    """Twice the TTFT is 100 % worse, whatever the session does to both."""
    incumbent = (100.0, 300.0, 120.0, 80.0, 200.0)
    candidate = tuple(2 * value * (1 + 0.01 * (-1) ** i) for i, value in enumerate(incumbent))
    common = {"bound": Bound.MAX, "in_points": False, "delta": 20.0, "incumbent": incumbent, "look": SIXTEEN}
    change = change_between_pairs(**common, candidate=candidate)
    assert (change.outcome, change.unit) == (Outcome.FAIL, "%")
    assert change.estimate == pytest.approx(100, abs=2)
    undecided = change_between_pairs(**common, candidate=(90.0, 360.0, 140.0, 70.0, 230.0))
    assert undecided.outcome is Outcome.INCONCLUSIVE
    assert undecided.rounds_needed > 5


def test_a_mean_of_exactly_half_of_delta_is_no_matter_of_the_last_bit() -> None:
    """Differences given to a tenth whose mean is 1.0 of 2.0; added up one by one, they come to more."""
    incumbent, candidate = (0.0,) * 9, (0.2, 1.0, 1.1, 1.1, 1.0, 1.1, 1.0, 1.3, 1.2)
    loss = {"bound": Bound.MAX, "in_points": True, "delta": 2.0, "look": SIXTEEN}
    orders = (candidate, candidate[::-1], sorted(candidate))
    changes = [change_between_pairs(**loss, incumbent=incumbent, candidate=order) for order in orders]
    assert {change.estimate for change in changes} == {1.0}
    assert {change.outcome for change in changes} == {Outcome.PASS}
