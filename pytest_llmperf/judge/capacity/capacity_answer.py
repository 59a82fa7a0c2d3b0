"""What a search for the capacity found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llmperf.judge.capacity.request_limits import RequestLimit, RequestLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedAgents:
    """A number of agents that was tried.

    Attributes:
        agents: how many.
        rounds: that count.
        requests: of these rounds, and of those that could not be measured.
        kept: of these, those that kept every limit.
        medians: of all requests, by the name of the limit.
        broken: the limit that most requests broke, and the median of their values; None: none was broken.
        failure: why the last round that could not be measured failed; empty if none did.
    """

    agents: int
    rounds: int
    requests: int
    kept: int
    medians: Mapping[str, float]
    broken: tuple[RequestLimit, float] | None
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityAnswer:
    """The answer of a search.

    Attributes:
        agents: the largest number that was confirmed; 0: a single agent was refuted; None: neither.
        at_most: the largest number below the smallest that was refuted; None: none was.
        most_agents: the largest number that the search may try.
        share: of the requests that must keep every limit.
        limits: of every request.
        tried: every number that was tried, from the smallest.
        ended: why the search ended before its answer was final; empty if it did not.
    """

    agents: int | None
    at_most: int | None
    most_agents: int
    share: float
    limits: RequestLimits
    tried: tuple[TriedAgents, ...]
    ended: str = ""

    @property
    def gives_first(self) -> TriedAgents | None:
        """The smallest number above the confirmed one whose requests kept them too seldom; None: there is none."""
        above = [tried for tried in self.tried if tried.agents > (self.agents or 0) and not self._enough(tried)]
        return min(above, key=lambda tried: tried.agents, default=None)

    @property
    def looks_good(self) -> int:
        """The largest number whose requests kept the limits as often as they must, so far; 0: none."""
        return max((tried.agents for tried in self.tried if self._enough(tried)), default=0)

    def _enough(self, tried: TriedAgents) -> bool:
        return tried.kept >= self.share * tried.requests
