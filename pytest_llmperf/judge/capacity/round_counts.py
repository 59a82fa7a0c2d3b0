"""Counts of the requests of rounds; the requests of one round are not independent.

A bet against a share `p` of good requests multiplies its capital by `1 + f (1 - p) / p` for a good request and by
`1 - f` for a bad one (`stats.betting`). If requests are independent, the capital is 1 / error or more, ever, with
probability `error` at most. Requests of one round share its luck: counts are divided by the design effect
`1 + (m - 1) r` of m requests with the correlation r (Kish 1965, "Survey Sampling"). With r = 1 the round is the unit,
and the bound holds whatever the correlation (Hoelder's inequality); below, it is an approximation.
"""

from __future__ import annotations

from typing import NamedTuple


class Kept(NamedTuple):
    """The requests of a round: how many kept every limit, and all."""

    kept: int
    requests: int


class RoundCounts(NamedTuple):
    """What is known of rounds with the same number of requests.

    Attributes:
        rounds: their number.
        requests: of each round.
        kept: requests of all rounds that kept every limit.
        squares: sum over rounds of the square of such requests.
    """

    rounds: int = 0
    requests: int = 1
    kept: int = 0
    squares: int = 0

    def plus(self, round_: Kept) -> RoundCounts:
        """The counts with another round."""
        kept, requests = round_
        return RoundCounts(self.rounds + 1, requests, self.kept + kept, self.squares + kept * kept)

    @property
    def broken(self) -> int:
        """Requests of all rounds that broke a limit."""
        return self.rounds * self.requests - self.kept

    @property
    def share(self) -> float:
        """The share of all requests that kept every limit; needs a round."""
        return self.kept / (self.rounds * self.requests)

    @property
    def correlation(self) -> float:
        """The correlation of the requests of a round, by analysis of variance; 0 if it cannot be estimated.

        Source: Ridout, Demetrio, Firth 1999, "Estimating intraclass correlation for binary data".
        """
        within_squares = self.kept - self.squares / self.requests
        between_squares = self.squares / self.requests - self.kept**2 / max(1, self.rounds * self.requests)
        if self.rounds < 2 or self.requests < 2 or within_squares + between_squares <= 0:
            return 0.0
        between, within = between_squares / (self.rounds - 1), within_squares / (self.rounds * (self.requests - 1))
        return max(0.0, (between - within) / (between + (self.requests - 1) * within))

    def design_effect(self, least_correlation: float) -> float:
        """How many requests count as an independent one: `1 + (m - 1) r`, at least 1.

        Args:
            least_correlation: the correlation that is assumed at least, 0 to 1; more is taken if the rounds show it.
        """
        return 1 + (self.requests - 1) * max(least_correlation, self.correlation)
