"""The search for the number of agents that servers carry."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import capacity_errors
from pytest_llmperf.judge.capacity.capacity_search import MOST_ROUNDS, CapacitySearch, least_rounds, steps
from pytest_llmperf.judge.capacity.round_counts import Kept


def searched(law: Callable[[int], int], most_agents: int, *, share: float = 0.9, stop: int = 100_000) -> CapacitySearch:
    """A search with this number of requests that keep every limit, by agents; ended after `stop` rounds."""
    search = CapacitySearch(share, most_agents, correlation=0.3)
    rounds = search.rounds()
    agents = next(rounds)
    for _ in range(stop):
        try:
            agents = rounds.send(Kept(law(agents), agents))
        except StopIteration:
            break
    return search


@pytest.mark.parametrize("capacity", [0, 1, 2, 3, 4, 5, 7, 8, 11, 12])
def test_every_capacity_is_found(capacity: int) -> None:
    """All requests keep every limit up to it, half of them above."""
    search = searched(lambda agents: agents if agents <= capacity else agents // 2, 12)
    assert search.carried == capacity
    assert search.most == (None if capacity == 12 else capacity)
    assert set(search.tried) <= set(range(1, 13))


def test_the_largest_number_is_tried() -> None:
    """Also if it is no step of its own; nothing above it is."""
    search = searched(lambda agents: agents, 30)
    assert (search.carried, search.most) == (30, None)
    assert max(search.tried) == 30


@pytest.mark.parametrize("most_agents", [1, 2, 8, 9, 17, 64, 100, 256])
def test_steps(most_agents: int) -> None:
    """From 1 to the largest, each at most an eighth above the one before, or one more."""
    numbers = steps(most_agents)
    assert (numbers[0], numbers[-1]) == (1, most_agents)
    assert all(0 < after - before <= max(1, before / 8) for before, after in itertools.pairwise(numbers))


def test_a_search_that_is_ended_early_promises_nothing() -> None:
    """Neither a confirmed number nor a refuted one; the rounds are there."""
    search = searched(lambda agents: agents, 8, stop=10)
    assert (search.carried, search.most) == (None, None)
    assert sum(tried.all.rounds for tried in search.tried.values()) == 10


def test_a_share_at_the_limit_is_not_confirmed() -> None:
    """Exactly nine of ten requests: no bet can tell it from less, so the search ends after its maximum of rounds."""
    turn = iter(range(1, 100_000))
    search = searched(lambda _: int(next(turn) % 10 != 0), 1)
    assert search.carried is None
    assert search.tried[1].confirming.rounds == MOST_ROUNDS


def test_the_least_number_of_rounds() -> None:
    """More for a higher share and for more correlation; one agent at a time takes most."""
    assert least_rounds(0.9, 8, 0.3) < least_rounds(0.95, 8, 0.3) < least_rounds(0.95, 8, 1.0)
    assert least_rounds(0.95, 8, 0.3) < least_rounds(0.95, 1, 0.3)
    search = searched(lambda agents: agents, 8, share=0.95)
    assert sum(tried.all.rounds for tried in search.tried.values()) == least_rounds(0.95, 8, 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("law", [law for law in capacity_errors.LAWS if law.promised][2:9:3], ids=lambda law: law.name)
def test_promises_hold(law: capacity_errors.Law) -> None:
    """40 searches of each law with correlated requests: none promises too much (1 % may), few too little."""
    rng = np.random.default_rng(5)
    answers = [capacity_errors.search(law, 0.3, rng, 0.3)[0] for _ in range(40)]
    assert sum(answer.carried > law.capacity for answer in answers if answer.carried is not None) <= 1
    assert sum(answer.most is not None and answer.most < law.capacity for answer in answers) <= 3
    assert sum((answer.carried or 0) < law.capacity - 2 for answer in answers) <= 6


def test_the_benchmark_prints_a_line_for_a_cell() -> None:
    """With the capacity; a broken promise is marked."""
    line = capacity_errors.cell(0, 0.0, 3, 0.3)
    assert line.startswith("  1 slot ")
    assert line.split()[3] == "1"
