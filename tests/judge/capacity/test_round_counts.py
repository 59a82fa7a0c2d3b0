"""Counts of requests by round, and how many of them count as independent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.capacity.round_counts import Kept, RoundCounts


def counts_of(rounds: list[int], requests: int) -> RoundCounts:
    """The counts after these rounds, each given by the number of requests that kept every limit."""
    counts = RoundCounts()
    for kept in rounds:
        counts = counts.plus(Kept(kept, requests))
    return counts


@given(st.integers(2, 9).flatmap(lambda m: st.tuples(st.just(m), st.lists(st.integers(0, m), min_size=2, max_size=30))))
def test_the_correlation_is_that_of_an_analysis_of_variance(case: tuple[int, list[int]]) -> None:
    """The same from single requests as zeros and ones, written as textbooks write it."""
    requests, rounds = case
    counts = counts_of(rounds, requests)
    values = np.array([[1.0] * kept + [0.0] * (requests - kept) for kept in rounds])
    assert counts.kept == values.sum()
    assert counts.broken == values.size - values.sum()
    assert counts.share == pytest.approx(values.mean())
    between = requests * ((values.mean(axis=1) - values.mean()) ** 2).sum() / (len(rounds) - 1)
    within = ((values - values.mean(axis=1, keepdims=True)) ** 2).sum() / (len(rounds) * (requests - 1))
    whole = between + (requests - 1) * within
    expected = max(0.0, (between - within) / whole) if whole > 1e-12 else 0.0
    assert counts.correlation == pytest.approx(expected, abs=1e-9)


def test_whole_rounds_are_good_or_bad() -> None:
    """The correlation is 1, and each round counts as one request."""
    counts = counts_of([4, 0, 4, 4, 0], 4)
    assert counts.correlation == pytest.approx(1)
    assert counts.design_effect(0.0) == pytest.approx(4)


@pytest.mark.parametrize(("least", "effect"), [(0.0, 1.0), (0.3, 1.9), (1.0, 4.0)])
def test_what_is_not_seen_is_assumed(least: float, effect: float) -> None:
    """Rounds without a bad request show no correlation."""
    assert counts_of([4] * 10, 4).design_effect(least) == pytest.approx(effect)


def test_single_requests_are_independent() -> None:
    """A round of one request counts as one, whatever is assumed; no rounds count, too."""
    assert counts_of([1, 0, 1], 1).design_effect(1.0) == 1
    assert RoundCounts().design_effect(1.0) == 1
