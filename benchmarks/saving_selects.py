"""What saving only the runs that pass a limit does to later comparisons: simulated with the code that judges gates.

    python benchmarks/saving_selects.py [--runs 4000]

Efficiency has a true mean of 96 %, rounds scatter with 1.21 points, sessions with tau. Eight sessions of five rounds
each, chosen by the verdict of `efficiency(95)`, are saved; new runs of 5 to 20 rounds are compared, delta 2 points.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.whole_runs import FAIL, OPEN, PASS, judge_limit, judge_sessions
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.regression.effect_scale import Scale
from pytest_llmperf.model import Bound

MEAN, LIMIT, SD, DELTA, SESSIONS, STORED, MOST = 96.0, 95.0, 1.21, 2.0, 8, 5, 20
CANDIDATES = 60_000
"""Sessions that might be saved."""
SPREADS, DROPS = (0.0, 0.6, 1.2), (0.0, 3.0)


def rounds_of(rng, tau: float, shape: tuple[int, int], drop: float = 0.0):
    """Rounds of sessions, shape (sessions, rounds), at most 100 %."""
    level = MEAN - drop + tau * rng.standard_normal((shape[0], 1))
    return np.minimum(level + SD * rng.standard_normal(shape), 100)


def simulate(tau: float, runs: int) -> None:
    """Prints a line for each way to choose what is saved."""
    rng = np.random.default_rng(3)
    candidates = rounds_of(rng, tau, (CANDIDATES, STORED))
    codes, _ = judge_limit(candidates, LIMIT, metric_of("efficiency_pct").shape)
    for name, saved in (("all", codes >= 0), ("passed", codes == PASS), ("passed or inconclusive", codes != FAIL)):
        stored = candidates[rng.choice(np.flatnonzero(saved), (runs, SESSIONS))]
        shares = []
        for drop in DROPS:
            new = rounds_of(rng, tau, (runs, MOST), drop)
            outcomes, _ = judge_sessions(Scale(bound=Bound.MIN, unit="pp"), stored, new, median=False, delta=DELTA)
            shares.append(" /".join(f"{100 * (outcomes == code).mean():6.2f}" for code in (PASS, FAIL, OPEN)))
        head = f"  tau {tau:<4g} {name:<23} saved {100 * saved.mean():5.1f} %, mean {stored.mean():.2f}"
        print(f"{head} | {' | '.join(shares)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=4000)
    asked = parser.parse_args()
    print("saved by the verdict of efficiency(95), true mean 96: pass / fail / inconclusive at drops of 0, 3 pp")
    for spread in SPREADS:
        simulate(spread, asked.runs)
