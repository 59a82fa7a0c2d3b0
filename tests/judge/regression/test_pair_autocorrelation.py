"""Pairs whose neighbours are alike: what that does to their interval, and what a few pairs cannot show."""

import numpy as np
import pytest

from benchmarks import verdicts
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.judge.regression.pair_autocorrelation import (
    ASSUMED,
    FEWEST_PAIRS,
    pair_autocorrelation,
    pair_inflation,
)
from pytest_llmperf.model import Bound, Outcome
from tests.judge.build import gate

RISE = np.array([0.0, 0.4, 0.9, 1.1, 1.6, 2.0, 2.6, 3.1, 3.4, 4.0])
ZIGZAG = np.array([0.0, 4.0, 0.4, 3.4, 0.9, 3.1, 1.1, 2.6, 1.6, 2.0])
NONE = np.zeros(10)


def test_differences_that_wander_count_and_those_that_alternate_do_not() -> None:
    """Either side may have the memory."""
    for sides in ((NONE, RISE), (RISE, NONE)):
        assert float(pair_autocorrelation(*sides, last=False)) > 0.6
        assert float(pair_autocorrelation(*sides, last=False)) == float(pair_autocorrelation(*sides, last=True))
    assert float(pair_autocorrelation(NONE, ZIGZAG, last=False)) == 0
    assert float(pair_autocorrelation(NONE, NONE, last=False)) == 0


def test_what_moves_the_session_is_no_memory_of_the_differences() -> None:
    """Both sides rise together, their differences alternate or hardly vary."""
    jitter = np.array([0.1, -0.1] * 5)
    assert float(pair_autocorrelation(5 * RISE, 5 * RISE + jitter, last=False)) == 0


def test_a_few_pairs_are_assumed_to_be_alike_unless_the_session_ends() -> None:
    """From FEWEST_PAIRS on the pairs themselves tell."""
    few = ZIGZAG[: FEWEST_PAIRS - 1]
    assert float(pair_autocorrelation(0 * few, few, last=False)) == ASSUMED
    assert float(pair_autocorrelation(0 * few, few, last=True)) == 0
    assert float(pair_autocorrelation(NONE, ZIGZAG, last=False)) == 0


def test_the_inflation_by_hand() -> None:
    """Variance of the mean of two at r: (1 + r) / 2; their sample variance: 1 - r. None without autocorrelation."""
    assert float(pair_inflation(np.asarray(0.5), 2)) == pytest.approx((1.5 / 2) / (1 - 0.5) * 2)
    assert float(pair_inflation(np.asarray(0.0), 12)) == 1
    rising = [float(pair_inflation(np.asarray(r), 12)) for r in (0.1, 0.3, 0.6, 0.9)]
    assert rising == sorted(rising)


def test_independent_pairs_seldom_count_as_alike() -> None:
    """One sum and one difference of 20 pairs each, 2,000 times: about a fifth."""
    rng = np.random.default_rng(16)
    sides = rng.standard_normal((2, 2000, 20))
    share = float((pair_autocorrelation(*sides, last=False) > 0).mean())
    assert 0.1 < share < 0.22


def test_a_reason_says_why_the_interval_is_wider() -> None:
    """Alike neighbours; too few pairs to tell; and nothing where neither is true."""
    pairs = gate("efficiency_pct", 0.0, Bound.MIN, delta=2.0, incumbent="old")
    incumbent = (95.0 + NONE).tolist()

    def verdict(loss, n: int):
        values = (95.0 - np.asarray(loss)[:n]).tolist()
        return judge_values(pairs, values, looks=16, last=False, incumbent=incumbent[:n])

    alike = verdict(RISE, 10)
    assert alike.outcome is Outcome.INCONCLUSIVE
    assert "times as wide as for independent pairs, because neighbouring pairs are alike" in alike.reason
    few = verdict(ZIGZAG, 5)
    assert few.outcome is Outcome.INCONCLUSIVE
    assert f"until there are {FEWEST_PAIRS}, which show whether neighbours are alike" in few.reason
    assert "as wide as" not in verdict(ZIGZAG, 10).reason


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "most"), [(".3", 3.0), (".6", 6.5), (".8", 11.0), (".95", 18.0)])
def test_sides_with_a_memory_of_their_own_raise_few_false_alarms(memory: str, most: float) -> None:
    """2,000 healthy runs, fixed seed; taken as independent they raise 2.7, 8.4, 15 and 25 %."""
    _, result = verdicts.simulate((verdicts.Cell("paired", f"AR(1) {memory} each", 1, 0.0, 0.0), 2000))
    assert result.failed <= most
