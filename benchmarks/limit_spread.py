"""How often limit gates are wrong about a deployment whose sessions differ, by the number of stored sessions.

    python benchmarks/limit_spread.py [--runs 1000] [--spreads 0 0.5 1 2]

Efficiency: rounds scatter with 1.21 points, sessions with a multiple of that. The limit of 90 % is the deployment's
true mean, or 2 points below or above it. Runs have 5 to 20 rounds, stored sessions 5. Columns: without stored sessions,
then with 3, 5, 8 and 20, each `pass / fail / inconclusive` in percent and mean rounds, by the code that judges gates.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.whole_runs import FAIL, OPEN, PASS, judge_limit
from pytest_llmperf.judge.metrics.catalogue import metric_of

LIMIT, SD, STORED, MOST, STORED_MEAN = 90.0, 1.21, 5, 20, 95.0
SESSIONS, ABOVE = (3, 5, 8, 20), (0.0, 2.0, -2.0)


def simulate(spread: float, above: float, runs: int) -> str:
    """The line for sessions that differ by `spread` times SD, and a true mean this far above the limit."""
    rng = np.random.default_rng(5)
    shape = metric_of("efficiency_pct").shape

    def rounds(mean: float, *size: int):
        level = mean + spread * SD * rng.standard_normal((*size[:-1], 1))
        return level + SD * rng.standard_normal(size)

    values = rounds(LIMIT + above, runs, MOST)
    judged = [judge_limit(values, LIMIT, shape)]
    judged += [judge_limit(values, LIMIT, shape, rounds(STORED_MEAN, runs, count, STORED)) for count in SESSIONS]
    columns = []
    for outcomes, taken in judged:
        shares = " /".join(f"{100 * (outcomes == code).mean():6.2f}" for code in (PASS, FAIL, OPEN))
        columns.append(f"{shares} {taken.mean():5.1f}")
    return f"  spread {spread:<4g} {above:+g} pp | {' | '.join(columns)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--spreads", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0])
    asked = parser.parse_args()
    print(
        f"without stored sessions, then with {', '.join(map(str, SESSIONS))}: pass / fail / inconclusive, mean rounds"
    )
    for spread in asked.spreads:
        for above in ABOVE:
            print(simulate(spread, above, asked.runs), flush=True)
