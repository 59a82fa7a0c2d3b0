"""The turns of implementations are balanced."""

from collections import Counter
from itertools import pairwise

import pytest

from pytest_llmperf.study.agents.agent_turns import WILLIAMS_MAX, rounds_of_design, turns


@pytest.mark.parametrize("count", range(1, 18))
@pytest.mark.parametrize("repetitions", [1, 3])
def test_each_implementation_is_equally_often_at_each_position(count: int, repetitions: int) -> None:
    """And each round has each implementation once."""
    names = [f"agent {index}" for index in range(count)]
    order = turns(names, repetitions * rounds_of_design(count), seed=count)
    assert all(sorted(round_) == sorted(names) for round_ in order)
    seen = Counter((name, position) for round_ in order for position, name in enumerate(round_))
    assert set(seen.values()) == {len(order) // count}
    assert len(seen) == count**2


@pytest.mark.parametrize("count", range(2, WILLIAMS_MAX + 1))
def test_each_is_equally_often_directly_before_each_other(count: int) -> None:
    """First-order carry-over is balanced."""
    names = [f"agent {index}" for index in range(count)]
    order = turns(names, rounds_of_design(count))
    seen = Counter(pair for round_ in order for pair in pairwise(round_))
    assert len(seen) == count * (count - 1)
    assert set(seen.values()) == {len(order) // count}


def test_a_seed_draws_the_order() -> None:
    """The same seed the same order, another seed another; not the same square twice."""
    names = [str(index) for index in range(WILLIAMS_MAX + 1)]
    order = turns(names, 14, seed=1)
    assert order == turns(names, 14, seed=1)
    assert order != turns(names, 14, seed=2)
    assert order[:7] != order[7:]


def test_odd_numbers_of_rounds() -> None:
    assert turns(["a", "b"], 3) == (("a", "b"), ("b", "a"), ("a", "b"))
    assert turns([], 2) == ((), ())
    with pytest.raises(ValueError, match="each name once, got a, a"):
        turns(["a", "a"], 1)
