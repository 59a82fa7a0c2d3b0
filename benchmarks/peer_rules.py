"""The usual rules, for comparison: baseline of 5 rounds (20 for the sequential one) against a candidate of 5."""

from __future__ import annotations

import numpy as np

from pytest_llmperf.judge.stats.distributions import t_quantile

ROUNDS, LONG, MOST = 5, 20, 20
DELTA = 2.0


def mean_pct(percent: float):
    """Fails if the mean is worse by more than `percent` percent (pytest-benchmark's `mean:5%`)."""

    def rule(rng, base, new):  # noqa: ARG001 - all rules are called alike
        old = base[:, :ROUNDS].mean(axis=1)
        return _fixed((old - new[:, :ROUNDS].mean(axis=1)) / old > percent / 100)

    return rule


def welch(rng, base, new):  # noqa: ARG001
    """Welch's test, one-sided, 1 %."""
    a, b = base[:, :ROUNDS], new[:, :ROUNDS]
    va, vb = a.var(axis=1, ddof=1) / ROUNDS, b.var(axis=1, ddof=1) / ROUNDS
    freedom = (va + vb) ** 2 / ((va**2 + vb**2) / (ROUNDS - 1))
    grid = np.linspace(ROUNDS - 1, 2 * ROUNDS - 2, 200)
    bound = np.interp(freedom, grid, [t_quantile(0.99, df) for df in grid])
    return _fixed((a.mean(axis=1) - b.mean(axis=1)) / np.sqrt(va + vb) > bound)


def bootstrap(rng, base, new, *, draws: int = 1000):
    """Percentile bootstrap of the difference of means, nominal 1 % a side; runs share the draws, which harms none."""
    shares = [rng.multinomial(ROUNDS, [1 / ROUNDS] * ROUNDS, draws).T / ROUNDS for _ in range(2)]
    fails = np.quantile(base[:, :ROUNDS] @ shares[0] - new[:, :ROUNDS] @ shares[1], 0.01, axis=1) > 0
    return _fixed(fails)


def sequential(rng, base, new):  # noqa: ARG001
    """Student's t after each round from 5 to 20 against 20 stored rounds, with their error but no session variance."""
    outcomes, rounds, rows = np.zeros(len(new), int), np.full(len(new), MOST), np.arange(len(new))
    old, old_var = base[:, :LONG].mean(axis=1), base[:, :LONG].var(axis=1, ddof=1)
    for n in range(ROUNDS, MOST + 1):
        part = new[rows, :n]
        pooled = (part.var(axis=1, ddof=1) * (n - 1) + old_var[rows] * (LONG - 1)) / (n + LONG - 2)
        half = t_quantile(1 - 0.01 / (MOST - ROUNDS + 1), n + LONG - 2) * np.sqrt(pooled * (1 / n + 1 / LONG))
        drop = old[rows] - part.mean(axis=1)
        verdicts = np.where(drop - half > 0, 2, np.where(drop + half < DELTA, 1, 0))
        outcomes[rows], rounds[rows] = verdicts, n
        rows = rows[verdicts == 0]
    return outcomes, rounds


def _fixed(fails):
    """Outcomes of a rule that knows pass and fail only, after ROUNDS rounds."""
    return np.where(fails, 2, 1), np.full(len(fails), ROUNDS)


RULES = {
    "mean:5% (pytest-benchmark's way)": mean_pct(5),
    "mean:1%": mean_pct(1),
    "Welch, one-sided .01": welch,
    "percentile bootstrap, nominal 1 %": bootstrap,
    "sequential t, 20 stored rounds": sequential,
}
