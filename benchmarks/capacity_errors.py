"""How often `pytest-llmperf capacity` promises too much or too little: simulated with the code that searches.

    python benchmarks/capacity_errors.py [--runs 2000] [--processes 2]

A law gives the share of requests that keep every limit for each number of agents; requests of a round have the same
latent correlation r (a Gaussian copula). At least 95 % of requests must keep every limit. Shown for each cell: the
capacity, how often the answer is above it (at most 1 %), how often it is more than one step below it, none included
(at most 5 %), how often the upper end is below it (at most 2.5 %), and the mean number of requests beside that of a
grid which runs as many rounds at every step as a search runs at most. Figures count as too large beyond three standard
errors. The last laws are outside what is promised: they are shown without a limit, from a tenth of the searches.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from pytest_llmperf.judge.capacity.capacity_search import MOST_ROUNDS, CapacitySearch, steps
from pytest_llmperf.judge.capacity.round_counts import Kept

SHARE, CORRELATION = 0.95, 0.3
LIMITS_PCT = {"above": 1.0, "below": 5.0, "upper": 2.5}
NORMAL = NormalDist()

Share = Callable[[int], float]
"""The share of requests that keep every limit, by the number of agents."""


def slots(count: int, alone: float = 0.9995) -> Share:
    """Requests beyond the slots wait too long; of the others few do."""
    return lambda agents: alone * min(1.0, count / agents)


def latency(limit_ms: float, alone_ms: float, growth: Callable[[int], float], sd: float) -> Share:
    """Lognormal times whose median grows with the number of agents."""
    return lambda agents: NORMAL.cdf(math.log(limit_ms / (alone_ms * growth(agents))) / sd)


def usl(contention: float, coherency: float) -> Callable[[int], float]:
    """How much longer each of N agents takes by the Universal Scalability Law."""
    return lambda agents: 1 + contention * (agents - 1) + coherency * agents * (agents - 1)


@dataclass(frozen=True)
class Law:
    """A law; `bad_rounds` is the probability that all requests of a round break a limit, by the number of agents."""

    name: str
    share: Share
    most: int = 16
    bad_rounds: Share = lambda _: 0.0
    promised: bool = True

    @property
    def capacity(self) -> int:
        """The largest step up to which at least the wanted share keeps every limit."""
        best = 0
        for agents in steps(self.most):
            if self.share(agents) * (1 - self.bad_rounds(agents)) < SHARE:
                break
            best = agents
        return best

    def round(self, agents: int, r: float, rng: np.random.Generator) -> Kept:
        """The requests of a round."""
        if rng.random() < self.bad_rounds(agents):
            return Kept(0, agents)
        latent = math.sqrt(r) * rng.standard_normal() + math.sqrt(1 - r) * rng.standard_normal(agents)
        share = min(max(self.share(agents), 1e-12), 1 - 1e-12)
        return Kept(int((latent < NORMAL.inv_cdf(share)).sum()), agents)


LAWS = (
    Law("1 slot", slots(1), 8),
    Law("2 slots", slots(2)),
    Law("4 slots", slots(4)),
    Law("12 slots", slots(12, 0.998), 32),
    Law("serial, sd 10 %", latency(2000, 300, float, 0.1)),
    Law("serial, sd 30 %", latency(2000, 200, float, 0.3)),
    Law("Amdahl 15 %, sd 20 %", latency(1000, 400, usl(0.15, 0.0), 0.2), 32),
    Law("Amdahl 20 %, sd 10 %", latency(1500, 400, usl(0.2, 0.0), 0.1), 32),
    Law("retrograde, sd 20 %", latency(3000, 300, usl(0.1, 0.02), 0.2), 32),
    Law("retrograde, sd 50 %", latency(6000, 300, usl(0.1, 0.02), 0.5), 32),
    Law("more than is tried", lambda _: 0.9999),
    Law("none", lambda _: 0.6),
    Law("just too little above 3", lambda agents: 0.9999 if agents <= 3 else 0.945),
    Law("just enough up to 3", lambda agents: 0.955 if agents <= 3 else 0.7, promised=False),
    Law("a share falls by 0.3 points an agent", lambda agents: 1 - 0.003 * agents, 64, promised=False),
    Law("whole rounds are bad, 1 % an agent", lambda _: 0.9995, bad_rounds=lambda n: 0.01 * n, promised=False),
)
CORRELATIONS = (0.0, 0.3, 0.6)


def search(law: Law, r: float, rng: np.random.Generator, correlation: float) -> tuple[CapacitySearch, int]:
    """A whole search, and the number of its requests."""
    state = CapacitySearch(SHARE, law.most, correlation=correlation)
    rounds = state.rounds()
    agents, requests = next(rounds), 0
    while True:
        requests += agents
        try:
            agents = rounds.send(law.round(agents, r, rng))
        except StopIteration:
            return state, requests


def cell(law_index: int, r: float, runs: int, correlation: float) -> str:
    """A line of the table; it begins with `!` if a promise is broken."""
    law, rng = LAWS[law_index], np.random.default_rng([law_index, round(10 * r)])
    truth, grid = law.capacity, (0, *steps(law.most))
    place = grid.index(truth)
    counts, requests = dict.fromkeys(LIMITS_PCT, 0), 0
    for _ in range(runs):
        state, took = search(law, r, rng, correlation)
        requests += took
        carried = state.carried
        counts["above"] += carried is not None and carried > truth
        counts["below"] += place > 1 if carried is None else grid.index(carried) < place - 1
        counts["upper"] += state.most is not None and state.most < truth
    shares = {name: 100 * count / runs for name, count in counts.items()}
    allowed = {name: most + 300 * math.sqrt(most / 100 * (1 - most / 100) / runs) for name, most in LIMITS_PCT.items()}
    broken = law.promised and any(shares[name] > allowed[name] for name in shares)
    end = "" if law.promised else f"  outside, {runs} searches"
    return (
        f"{'!' if broken else ' '} {law.name:<37} {r:>4g} {truth:>9} {shares['above']:>8.2f} {shares['below']:>8.2f} "
        f"{shares['upper']:>8.2f} {requests / runs:>9.0f} {MOST_ROUNDS * sum(grid):>9}{end}"
    )


def main() -> int:
    """Prints the table; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--correlation", type=float, default=CORRELATION, help="that the search assumes at least")
    asked = parser.parse_args()
    head = f"{'above %':>8} {'below %':>8} {'upper %':>8} {'requests':>9} {'grid':>9}"
    print(f"  {'law':<37} {'r':>4} {'capacity':>9} {head}")
    jobs = [
        (index, r, asked.runs if law.promised else math.ceil(asked.runs / 10), asked.correlation)
        for index, law in enumerate(LAWS)
        for r in CORRELATIONS
    ]
    with ProcessPoolExecutor(asked.processes) as pool:
        lines = []
        for line in pool.map(cell, *zip(*jobs, strict=True)):
            lines.append(line)
            print(line, flush=True)
    broken = sum(line.startswith("!") for line in lines)
    print(
        f"{len(lines)} cells of {asked.runs} searches; "
        + (f"{broken} break a promise" if broken else "all promises hold")
    )
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
