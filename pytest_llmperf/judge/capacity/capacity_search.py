"""The search for the largest number of agents of which a share of all requests keeps every limit.

First the search doubles the number of agents until a few rounds look bad, and halves the interval. Then it confirms the
largest number that looks good, with new rounds only, and goes down step by step until a number is confirmed. Last it
looks for the smallest larger number that is refuted. Both decisions are made by bets on single requests
(`stats.betting`), which are valid at every look; `round_counts` says how requests of one round count. More agents are
assumed not to do better than fewer.

| error | at most |
|---|---|
| a number of agents is confirmed, and its share is below the wanted one | 1 % of searches |
| the upper end is below the capacity | 2.5 % of searches |

`benchmarks/capacity_errors.py` measures both.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field

from pytest_llmperf.judge.capacity.round_counts import Kept, RoundCounts
from pytest_llmperf.judge.stats.betting import log_capital_of_shares, log_target

LOOK_ROUNDS, LOOK_BROKEN = 4, 3
"""A number of agents looks good after this number of rounds, bad after this number of requests that broke a limit."""

MOST_LOOK_ROUNDS = 20
"""Rounds after which it looks bad anyway, if fewer requests than that broke a limit."""

MOST_ROUNDS = 400
"""Rounds of a number of agents that is to be confirmed."""

REFUTE_ROUNDS = 60
"""Rounds of a larger number that is to be refuted."""

_GIVE_UP_ROUNDS = 24
"""Rounds after which a confirmation whose share is below the wanted one is given up."""

_EVERY = 8
"""Up to here, every number of agents is a step; above, a step is an eighth."""


Rounds = Generator[int, Kept, None]
"""Yields the number of agents of the next round, and is sent the counts of its requests."""


@dataclass(slots=True)
class Tried:
    """A number of agents that was tried.

    Attributes:
        agents: how many.
        order: 1 for the first number that was tried, and so on; numbers share the error of a refutation by it.
        rank: 1 for the first number that was to be confirmed, and so on; 0: it never was.
        all: its rounds.
        confirming: its rounds since it was to be confirmed.
    """

    agents: int
    order: int
    rank: int = 0
    all: RoundCounts = field(default_factory=RoundCounts)
    confirming: RoundCounts = field(default_factory=RoundCounts)


class CapacitySearch:
    """The state of one search; it can be ended after any round.

    Args:
        share: of the requests that must keep every limit, above 0 and below 1.
        most_agents: the largest number that is tried.
        correlation: of the requests of a round, at least; see `RoundCounts.design_effect`.

    Attributes:
        tried: every number of agents that was tried, by number; the last one may have no rounds yet.
    """

    def __init__(self, share: float, most_agents: int, *, correlation: float) -> None:
        self.tried: dict[int, Tried] = {}
        self._share = share
        self._steps = steps(most_agents)
        self._correlation = correlation

    @property
    def carried(self) -> int | None:
        """The largest number that was confirmed; 0: a single agent was refuted; None: neither."""
        confirmed = [agents for agents, tried in self.tried.items() if self._confirmed(tried)]
        if confirmed:
            return max(confirmed)
        return 0 if 1 in self.tried and self._refuted(self.tried[1]) else None

    @property
    def most(self) -> int | None:
        """The largest number below the smallest that was refuted; None: no number was refuted."""
        refuted = [agents for agents, tried in self.tried.items() if self._refuted(tried)]
        return self._below(min(refuted)) if refuted else None

    def rounds(self) -> Rounds:
        """The rounds that the search needs."""
        candidate = yield from self._largest_that_looks_good()
        rank = 1
        while candidate and not (yield from self._confirm(candidate, rank)):
            candidate = self._below(candidate)
            rank += 1
        above = self._above(candidate)
        while above is not None and not (yield from self._refute(above)):
            if candidate and above == self._above(candidate) and self._confirmable(self.tried[above]):
                rank += 1
                if (yield from self._confirm(above, rank)):
                    candidate = above
            above = self._above(above)

    def _largest_that_looks_good(self) -> Generator[int, Kept, int]:
        """Doubles until a number looks bad, then halves the steps between; 0 if even 1 looks bad."""
        good, bad = 0, 1
        while (yield from self._looks_good(bad)):
            good, bad = bad, self._step_at(2 * bad)
            if good == bad:
                return good
        while between := [step for step in self._steps if good < step < bad]:
            middle = between[len(between) // 2]
            if (yield from self._looks_good(middle)):
                good = middle
            else:
                bad = middle
        return good

    def _looks_good(self, agents: int) -> Generator[int, Kept, bool]:
        tried = self._tried(agents)
        while tried.all.rounds < MOST_LOOK_ROUNDS:
            yield from self._round(tried)
            if tried.all.rounds >= LOOK_ROUNDS:
                if tried.all.share >= self._share:
                    return True
                if tried.all.broken >= LOOK_BROKEN:
                    return False
        return False

    def _confirm(self, agents: int, rank: int) -> Generator[int, Kept, bool]:
        """Rounds until the number is confirmed or refuted, or does not seem to be worth more of them."""
        tried = self._tried(agents)
        tried.rank = rank
        while tried.confirming.rounds < MOST_ROUNDS:
            tried.confirming = tried.confirming.plus((yield from self._round(tried)))
            if self._confirmed(tried):
                return True
            if self._refuted(tried) or (tried.confirming.rounds >= _GIVE_UP_ROUNDS and tried.all.share < self._share):
                return False
        return False

    def _refute(self, agents: int) -> Generator[int, Kept, bool]:
        """Rounds until the number is refuted, or there are enough."""
        tried = self._tried(agents)
        while tried.all.rounds < REFUTE_ROUNDS and not self._refuted(tried):
            yield from self._round(tried)
        return self._refuted(tried)

    def _round(self, tried: Tried) -> Generator[int, Kept, Kept]:
        kept = yield tried.agents
        tried.all = tried.all.plus(kept)
        return kept

    def _tried(self, agents: int) -> Tried:
        return self.tried.setdefault(agents, Tried(agents, order=len(self.tried) + 1))

    def _confirmed(self, tried: Tried) -> bool:
        """Whether bets on its confirming rounds refute every share below the wanted one."""
        return self._bets_confirm(tried, tried.confirming, 1.0, tried.rank) if tried.rank else False

    def _confirmable(self, tried: Tried) -> bool:
        """Whether it would be confirmed in as many rounds as are allowed, if they go on as before."""
        return self._bets_confirm(tried, tried.all, MOST_ROUNDS / tried.all.rounds, len(self.tried))

    def _bets_confirm(self, tried: Tried, counts: RoundCounts, times: float, rank: int) -> bool:
        effect = tried.all.design_effect(self._correlation) / times
        capital = log_capital_of_shares(counts.kept / effect, counts.broken / effect, self._share)
        return capital >= log_target(5 * rank * (rank + 1) // 2)  # gates of 2.5 %: over all ranks, 1 % in all

    def _refuted(self, tried: Tried) -> bool:
        """Whether bets on all its rounds refute every share from the wanted one on."""
        effect = tried.all.design_effect(self._correlation)
        capital = log_capital_of_shares(tried.all.broken / effect, tried.all.kept / effect, 1.0 - self._share)
        return capital >= log_target(tried.order * (tried.order + 1))  # over all orders, 2.5 % in all

    def _below(self, agents: int) -> int:
        return max((step for step in self._steps if step < agents), default=0)

    def _above(self, agents: int) -> int | None:
        return min((step for step in self._steps if step > agents), default=None)

    def _step_at(self, agents: int) -> int:
        """The largest step that is not above a number."""
        return max(step for step in self._steps if step <= agents)


def steps(most_agents: int) -> tuple[int, ...]:
    """The numbers of agents that a search may try: every one up to 8, then an eighth apart, and the largest.

    >>> steps(30)
    (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 27, 30)
    """
    numbers = [1]
    while numbers[-1] < most_agents:
        numbers.append(min(most_agents, numbers[-1] + max(1, numbers[-1] // _EVERY)))
    return tuple(numbers)


def least_rounds(share: float, most_agents: int, correlation: float) -> int:
    """The number of rounds that a search takes if all requests keep every limit: no search takes fewer."""
    search = CapacitySearch(share, most_agents, correlation=correlation)
    rounds = search.rounds()
    agents = next(rounds)
    with suppress(StopIteration):
        while True:
            agents = rounds.send(Kept(agents, agents))
    return sum(tried.all.rounds for tried in search.tried.values())
