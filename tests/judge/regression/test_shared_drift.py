"""Sessions whose rounds drift: a longer session is compared by as many rounds as the stored ones have."""

import random

import numpy as np
import pytest

from benchmarks import verdicts
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.judge.regression.shared_drift import Slopes, share_drift
from pytest_llmperf.model import Bound, Outcome
from tests.judge.build import gate


def rounds(rng: random.Random, count: int, slope: float, level: float = 98.0) -> tuple[float, ...]:
    return tuple(level - slope * number + rng.gauss(0, 0.3) for number in range(count))


def drifting(slope: float, new_slope: float):
    """Eight stored sessions of five rounds, a new one of 15, and whether they drift alike."""
    rng = random.Random(16)
    stored, new = [rounds(rng, 5, slope) for _ in range(8)], rounds(rng, 15, new_slope)
    return stored, new, bool(share_drift(Slopes.of([-np.array(stored)]), -np.array(new)))


@pytest.mark.parametrize(
    ("slope", "new_slope", "alike"), [(0.2, 0.2, True), (-0.2, -0.2, True), (0, 0, False), (0.2, -0.2, False)]
)
def test_a_drift_counts_if_stored_sessions_share_it(slope: float, new_slope: float, alike: bool) -> None:
    """For worse and for better; not if only one side drifts, or each its own way."""
    assert drifting(slope, new_slope)[2] is alike


def test_a_drift_that_the_stored_sessions_share_is_no_loss() -> None:
    """Fifteen rounds that lose 0.3 points each, as stored ones do: only the first five count, and it says so."""
    stored, new, _ = drifting(0.3, 0.3)
    asked = gate("efficiency_pct", 0.0, Bound.MIN, delta=2.0, reference=tuple(stored))
    verdict = judge_values(asked, new, looks=16, last=False)
    assert verdict.outcome is Outcome.PASS
    assert abs(verdict.worse_by) < 0.5
    assert "only the first 5 count, as many as the stored sessions have" in verdict.reason
    stored, new, _ = drifting(0, 0)
    steady = judge_values(gate(delta=2.0, reference=tuple(stored)), new, looks=16, last=False)
    assert "drift" not in steady.reason


def test_sessions_of_equal_length_need_no_slope() -> None:
    """They drift alike, whatever it is: all rounds count."""
    rng = random.Random(16)
    stored = tuple(rounds(rng, 8, 0.5) for _ in range(8))
    asked = gate("efficiency_pct", 0.0, Bound.MIN, delta=2.0, reference=stored)
    assert "drift" not in judge_values(asked, rounds(rng, 8, 0.5), looks=16).reason


def test_independent_rounds_seldom_share_a_drift() -> None:
    """As the error of the test says; alike neighbours are seldom taken for a drift."""
    rng = np.random.default_rng(16)
    stored, new = rng.standard_normal((2000, 8, 5)), rng.standard_normal((2000, 15))
    assert share_drift(Slopes.of([stored]), new).mean() < 0.06
    for number in range(1, 15):
        new[:, number] = 0.6 * new[:, number - 1] + 0.8 * new[:, number]
    assert share_drift(Slopes.of([stored]), new).mean() < 0.15


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "drop", "most"), [("drift +0.2", 0.0, 3.0), ("drift -0.2", 2.0, 12.0)])
def test_drifting_sessions_raise_few_false_alarms_and_hide_few_losses(noise: str, drop: float, most: float) -> None:
    """2,000 runs, eight sessions, fixed seed; by all rounds 12.5 % fail healthy, 50 % pass a loss of delta."""
    _, result = verdicts.simulate((verdicts.Cell("stored", noise, 8, 0.0, drop), 2000))
    assert (result.passed if drop else result.failed) <= most
