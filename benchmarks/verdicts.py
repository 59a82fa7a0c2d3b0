"""How often verdicts are wrong: simulated CI runs under the usual rules and ours; prints table, figures and limits.

    python benchmarks/verdicts.py [--runs 20000] [--quick] [--processes 2]     (`make verdicts`)

Each cell is `pass / fail / inconclusive` in percent and the mean number of rounds. Rounds scatter with 1.21 points,
sessions with tau; delta is 2 points; stored sessions have 5 rounds, new ones 5 to 20. Seeds are fixed. Exits 1 where a
figure falls short of its limit. `--quick` takes 400 runs a cell, and forgives what chance may do to so few.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pool
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import peer_rules, verdict_chart
from benchmarks.whole_runs import (
    FAIL,
    OPEN,
    PASS,
    judge_betting,
    judge_limit,
    judge_pairs,
    judge_session_means,
    judge_sessions,
)
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.regression.effect_scale import Scale
from pytest_llmperf.judge.stats.error_spending import DETECT_DELTAS
from pytest_llmperf.model import Bound

SD, MEAN, DELTA, STORED, MOST = 1.21, 98.7, 2.0, 5, 20
BATCH = 5000
DROPS = (0.0, 1.0, 2.0, 3.0, 5.0)
TTFT_DROPS = (0.0, 10.0, 20.0, 30.0, 50.0)
TTFT_DELTA = 20.0
SPREADS, TTFT_SPREADS = (0.0, 0.6, 1.2), (0.0, 0.05, 0.10)
SESSIONS = (4, 8, 20)
NOISES = {
    "normal": "independent normal rounds",
    "AR(1) .6": "neighbouring rounds of a session alike",
    "skewed": "100 minus a gamma of mean 1.3 and the same sd",
}
ROUNDED = {
    "to 0.1, sd 0": (0.1, 0.0),
    "to 0.1, sd .03": (0.1, 0.03),
    "to 0.1": (0.1, SD),
    "to 1, sd .3": (1.0, 0.3),
}
"""Values given to a step, with their standard deviation before that: many or all are equal."""
ROUNDED_LIMITS = {
    "limit to .1, sd .03": (0.1, 0.03),
    "limit to .1, sd .06": (0.1, 0.06),
    "limit to .1, sd .3": (0.1, 0.3),
}
"""The same for limit gates, with the true value on a step."""
SELDOM_BAD = {"one in ten 8 low": (0.1, 8.0), "three in ten 4 low": (0.3, 4.0)}
"""The share of bad rounds, and how many points they are low; the others scatter by 1 point."""
DRIFTS = {f"drift {drift:+g}": drift for drift in (0.1, 0.2, -0.1, -0.2)}
"""Points by which each round of a session is worse than the one before, in stored sessions and in new ones."""
FEW = (0.0, 3.0, 5.0)
OWN_MEMORY = ("AR(1) .3 each", "AR(1) .6 each", "AR(1) .8 each", "AR(1) .95 each")
"""Pairs whose sides have each a memory of its own."""
WIDE_SPREADS = (4.0, 6.0)
"""Sessions that differ by two and three deltas: chance alone reaches the hard floor."""
BEYOND_IT = {
    "Student 3": "rounds with the tails of Student's t with 3 degrees of freedom",
    "AR(1) -.5": "neighbouring rounds of a session unlike",
    "twice as noisy": "new rounds with twice the standard deviation of the stored ones",
}


BETS = {
    "one in ten low": (98.2, lambda rng, shape: 99 - 8 * (rng.random(shape) < 0.1)),
    "nine at 100": (99.2, lambda rng, shape: 100 - 8 * (rng.random(shape) < 0.1)),
    "gamma .3": (97.0, lambda rng, shape: 100 - np.minimum(rng.gamma(0.3, 10, shape), 100)),
    "to 0.1, sd .03": (98.7, lambda rng, shape: np.round(98.7 + 0.03 * rng.standard_normal(shape), 1)),
    "none or all": (98.0, lambda rng, shape: 100 * (rng.random(shape) < 0.98)),
}
"""Rounds that no model fits, by the mean that is their limit; gates that bet keep their promise for them."""
MOST_BETS, LOOK_EVERY = 100, 5


@dataclass(frozen=True)
class Cell:
    """One simulated situation under one rule.

    Attributes:
        rule: `stored`, `paired`, `family`, `limit`, `betting`, `compare` or a name of peer_rules.RULES.
        noise: key of NOISES, of BETS, `TTFT`, ...
        sessions: stored; of a family of gates, see `family`; of `compare`, on each side.
        tau: spread between sessions.
        drop: true, in points or percent.
    """

    rule: str
    noise: str
    sessions: int
    tau: float
    drop: float


@dataclass(frozen=True)
class Result:
    """Percentages of outcomes, and mean rounds."""

    passed: float
    failed: float
    open: float
    rounds: float

    def __str__(self) -> str:
        return f"{self.passed:5.1f} /{self.failed:6.2f} /{self.open:5.1f} {self.rounds:5.1f}"


@dataclass
class Table:
    """Results by cell, and figures against limits.

    Attributes:
        results: the results of the cells that were simulated.
        runs: a cell.
        forgiving: standard errors that a figure may be off.
        short: names of the figures that fell short.
    """

    results: dict[Cell, Result]
    runs: int
    forgiving: float = 0.0
    short: list[str] = field(default_factory=list)

    def figure(self, name: str, value: float, limit: float, *, most: bool, unit: str = "%") -> None:
        """Prints a figure with its limit and whether the figure is within it."""
        share = min(max(limit / 100, 0.001), 0.999)
        slack = self.forgiving * (100 * math.sqrt(share * (1 - share) / self.runs) if unit == "%" else 0.5)
        holds = value <= limit + slack if most else value >= limit - slack
        print(
            f"  {name:<88} {value:7.2f} {unit:<6} {'at most' if most else 'at least'} {limit:g}"
            f"  {'holds' if holds else 'FALLS SHORT'}"
        )
        if not holds:
            self.short.append(name)


def noise_of(rng, kind: str, runs: int, rounds: int):
    """Losses of rounds around their mean, shape (runs, rounds): positive is worse."""
    if kind == "skewed":
        return rng.gamma((1.3 / SD) ** 2, SD**2 / 1.3, (runs, rounds)) - 1.3
    if kind == "TTFT":
        # Logarithms: 8 % of noise, and one round in ten is delayed by a factor with Pareto's tail (index 1.4).
        late = rng.random((runs, rounds)) < 0.1
        return 0.08 * rng.standard_normal((runs, rounds)) + late * rng.exponential(0.7, (runs, rounds))
    if kind == "Student 3":
        return SD * rng.standard_t(3, (runs, rounds)) / math.sqrt(3)
    values = rng.standard_normal((runs, rounds))
    if kind in ROUNDED:
        return ROUNDED[kind][1] * values
    if kind.startswith("AR(1)"):
        memory = float(kind.split()[1])
        for index in range(1, rounds):
            values[:, index] = memory * values[:, index - 1] + math.sqrt(1 - memory**2) * values[:, index]
    return SD * values


def simulate(task: tuple[Cell, int]) -> tuple[Cell, Result]:
    """One cell; the seed depends on the cell only."""
    cell, runs = task
    rng = np.random.default_rng(zlib.crc32(repr(cell).encode()))
    outcomes, rounds = [], []
    for start in range(0, runs, BATCH):
        some = _simulate(cell, rng, min(BATCH, runs - start))
        outcomes.append(some[0])
        rounds.append(some[1])
    codes, taken = np.concatenate(outcomes), np.concatenate(rounds)
    share = [100 * float((codes == code).mean()) for code in (PASS, FAIL, OPEN)]
    return cell, Result(share[0], share[1], share[2], float(taken.mean()))


def _simulate(cell: Cell, rng, runs: int):
    """Outcomes and rounds of some runs."""
    if cell.rule in peer_rules.RULES:
        base = MEAN - noise_of(rng, cell.noise, runs, MOST) - cell.tau * rng.standard_normal((runs, 1))
        new = MEAN - noise_of(rng, cell.noise, runs, MOST) - cell.tau * rng.standard_normal((runs, 1)) - cell.drop
        return peer_rules.RULES[cell.rule](rng, base, new)
    if cell.rule == "limit":
        return judge_limit(*_limit_rounds(rng, cell, runs))
    if cell.rule == "betting":
        return judge_betting(*_bet_rounds(rng, cell, runs), 100.0, every=LOOK_EVERY)
    if cell.rule == "compare":
        return _session_means(cell, rng, runs)
    if cell.rule.startswith("family"):
        # A run fails when one of its 20 gates does; it takes as long as its longest.
        parts = [_one_gate(cell, rng, runs, gates=20) for _ in range(20)]
        failed = np.any([part[0] == FAIL for part in parts], axis=0)
        undecided = np.any([part[0] == OPEN for part in parts], axis=0)
        outcomes = np.where(failed, FAIL, np.where(undecided, OPEN, PASS))
        return outcomes, np.max([part[1] for part in parts], axis=0)
    return _one_gate(cell, rng, runs)


def _one_gate(cell: Cell, rng, runs: int, gates: int = 1):
    """Outcomes and rounds of a regression gate, stored or paired."""
    logs = cell.noise == "TTFT"
    # Losses are simulated: a larger value is worse. The logarithms of TTFT become values.
    scale = Scale(bound=Bound.MAX, unit="%" if logs else "pp", logs=logs)
    to_value = np.exp if logs else np.asarray
    delta, drop = TTFT_DELTA if logs else DELTA, scale.shift(cell.drop)
    if "paired" in cell.rule:
        sides = _differences(rng, cell.noise, runs, drop)
        sides = [to_value(side) for side in (_rounded(rng, cell.noise, *sides) if cell.noise in ROUNDED else sides)]
        return judge_pairs(scale, *sides, delta=delta, gates=gates)
    sessions = noise_of(rng, cell.noise, runs * cell.sessions, STORED).reshape(runs, cell.sessions, STORED)
    sessions = sessions + cell.tau * rng.standard_normal((runs, cell.sessions, 1))
    noise = noise_of(rng, cell.noise, runs, MOST) * (2 if cell.noise == "twice as noisy" else 1)
    values = noise + cell.tau * rng.standard_normal((runs, 1)) + drop
    if cell.noise in DRIFTS:
        # Every session drifts alike, by DRIFTS points a round.
        sessions = sessions + DRIFTS[cell.noise] * np.arange(STORED)
        values = values + DRIFTS[cell.noise] * np.arange(MOST)
    if cell.noise in ROUNDED:
        sessions, values = _rounded(rng, cell.noise, sessions, values)
    return judge_sessions(scale, to_value(sessions), to_value(values), median=logs, delta=delta, gates=gates)


def _session_means(cell: Cell, rng, runs: int):
    """Outcomes and rounds of sessions against as many sessions."""
    shape = runs, cell.sessions, STORED
    sides = [
        noise_of(rng, cell.noise, runs * cell.sessions, STORED).reshape(shape)
        + cell.tau * rng.standard_normal((runs, cell.sessions, 1))
        + drop
        for drop in (0.0, cell.drop)
    ]
    outcomes = judge_session_means(Scale(bound=Bound.MAX, unit="pp"), *sides, delta=DELTA)
    return outcomes, np.full(runs, cell.sessions * STORED)


def _rounded(rng, kind: str, *sides):
    """Both sides rounded to steps; the level is random between two steps, the same for both sides."""
    step, _ = ROUNDED[kind]
    level = step * rng.random(len(sides[0]))
    return [np.round(np.round((side.T + level).T / step) * step, 6) for side in sides]


def _differences(rng, kind: str, runs: int, drop: float):
    """Incumbent and candidate, as losses, pair by pair; what moves the session moves both."""
    if kind in ROUNDED:
        return [noise_of(rng, kind, runs, MOST) + less for less in (0.0, drop)]
    if kind == "AR(1) .6":
        # One machine, one noise: the two take turns, and at going first.
        both = noise_of(rng, kind, runs, 2 * MOST).reshape(runs, MOST, 2)
        first = np.arange(MOST) % 2
        return np.where(first, both[:, :, 1], both[:, :, 0]), np.where(first, both[:, :, 0], both[:, :, 1]) + drop
    own = kind.removesuffix(" each")
    candidate = noise_of(rng, own, runs, MOST) + drop
    return noise_of(rng, own, runs, MOST), candidate


def _limit_rounds(rng, cell: Cell, runs: int):
    """Rounds whose true mean is the limit less the drop, the limit, and what is known of the metric."""
    kind, drop, shape = cell.noise, cell.drop, (runs, MOST)
    balance, scaling, rate = metric_shapes()
    if kind == "skewed" or kind.startswith("gamma of"):
        of_gamma = float(kind.split()[-1]) if kind != "skewed" else (1.3 / SD) ** 2
        return 100 - rng.gamma(of_gamma, (1.3 + drop) / of_gamma, shape), MEAN, balance
    if kind == "bounded":
        mean = 5 + drop
        return 100 - rng.gamma((mean / 3) ** 2, 9 / mean, shape), 95.0, balance
    if kind in ROUNDED_LIMITS:
        step, sd = ROUNDED_LIMITS[kind]
        values = 95.0 - drop + sd * rng.standard_normal(shape)
        return np.round(np.round(values / step) * step, 6), 95.0, scaling
    if kind.startswith("tok/s"):
        log_sd = float(kind.split()[-1])
        return (100.0 - drop) * np.exp(log_sd * rng.standard_normal(shape) - log_sd**2 / 2), 100.0, rate
    return (
        90.0 - drop - _tail_noise(rng, kind.removeprefix("scaling "), runs),
        90.0,
        (scaling if kind.startswith("scaling") else balance),
    )


def metric_shapes():
    """What is known of balance efficiency, scaling efficiency and tok/s."""
    return [metric_of(name).shape for name in ("efficiency_pct", "scaling_efficiency_pct", "decode_tok_s")]


def _tail_noise(rng, kind: str, runs: int):
    """Losses of rounds around 90 %, with tails that five rounds need not show."""
    shape = runs, MOST
    if kind.startswith("lognormal"):
        log_sd = float(kind.rsplit(maxsplit=1)[-1])
        raw = np.exp(log_sd * rng.standard_normal(shape) - log_sd**2 / 2)
        return SD * (raw - 1) / math.sqrt(math.expm1(log_sd**2))
    if kind in SELDOM_BAD:
        share, loss = SELDOM_BAD[kind]
        return rng.standard_normal(shape) + loss * ((rng.random(shape) < share) - share)
    return noise_of(rng, kind.removesuffix(" at 90"), runs, MOST)


def _bet_rounds(rng, cell: Cell, runs: int):
    """Rounds whose true mean is the limit less the drop, and the limit."""
    shape = runs, MOST_BETS
    if cell.noise in BETS:
        limit, draw = BETS[cell.noise]
        return draw(rng, shape) - cell.drop, limit
    return MEAN - noise_of(rng, cell.noise, *shape), MEAN + cell.drop


def cells() -> list[Cell]:
    """Everything that is simulated."""
    peers = [Cell(rule, "normal", 1, 0.0, drop) for rule in peer_rules.RULES for drop in DROPS]
    peers += [Cell(rule, "normal", 1, tau, 0.0) for rule in peer_rules.RULES for tau in SPREADS[1:]]
    peers += [Cell(rule, "AR(1) .6", 1, 0.0, 0.0) for rule in peer_rules.RULES]
    stored = [Cell("stored", n, k, tau, d) for n in NOISES for k in SESSIONS for tau in SPREADS for d in DROPS]
    stored += [Cell("stored", "TTFT", k, tau, d) for k in SESSIONS for tau in TTFT_SPREADS for d in TTFT_DROPS]
    few = [Cell("stored", "normal", k, tau, d) for k in (1, 2, 3) for tau in SPREADS for d in FEW]
    paired = [Cell("paired", noise, 1, 0.0, d) for noise in (*NOISES, *OWN_MEMORY) for d in DROPS]
    paired += [Cell("paired", "TTFT", 1, 0.0, d) for d in TTFT_DROPS]
    paired += [Cell("paired", noise, 1, 0.0, d) for noise in ROUNDED for d in FEW]
    stored += [Cell("stored", noise, 8, 0.0, d) for noise in ROUNDED for d in FEW]
    stored += [Cell("stored", "normal", k, tau, d) for k in (4, 20) for tau in WIDE_SPREADS for d in FEW]
    beyond = [
        Cell("stored", noise, k, tau, d) for noise in BEYOND_IT for k in (8, 20) for tau in SPREADS[:2] for d in FEW
    ]
    stored += [Cell("stored", noise, k, 0.0, d) for noise in DRIFTS for k in (8, 20) for d in (0.0, 2.0, 3.0)]
    return peers + stored + few + beyond + paired + FAMILIES + LIMITS + BETTING + COMPARED


FAMILIES = [
    Cell("family", "normal", 20, 0.0, 0.0),
    Cell("family", "normal", 20, 0.6, 0.0),
    Cell("family", "normal", 20, 3.0, 0.0),
    Cell("family", "normal", 4, 1.2, 0.0),
    Cell("family", "skewed", 20, 0.0, 0.0),
    Cell("family paired", "normal", 1, 0.0, 0.0),
]
BETTING = [*(Cell("betting", noise, 1, 0.0, 0.0) for noise in BETS), Cell("betting", "skewed", 1, 0.0, -8.7)]
LIMIT_NOISES = ("normal", "bounded", "skewed", "AR(1) .6", *ROUNDED_LIMITS)
LIMIT_TAILS = (
    "skewed at 90",
    "lognormal .5",
    "scaling skewed",
    "scaling lognormal .5",
    "three in ten 4 low",
    "gamma of shape .5",
    "tok/s lognormal .2",
    "tok/s lognormal .6",
)
LIMIT_BEYOND = ("gamma of shape .3", "lognormal 1", "scaling lognormal 1", "one in ten 8 low")
"""Tails that five to twenty rounds do not always show."""
ABOVE = (0.0, -1.0, -2.0, -4.0)
LIMITS = [Cell("limit", noise, 1, 0.0, d) for noise in LIMIT_NOISES for d in (0.0, 2.0)]
LIMITS += [Cell("limit", noise, 1, 0.0, 0.0) for noise in (*LIMIT_TAILS, *LIMIT_BEYOND)]
LIMITS += [Cell("limit", noise, 1, 0.0, d) for noise in ("normal", "skewed at 90") for d in ABOVE if d]
LIMITS += [Cell("limit", "normal", 1, 0.0, 1.0)]

COMPARED = [
    *(Cell("compare", "normal", 12, 1.2, drop) for drop in (0.0, 2.0, 3.0)),
    *(Cell("compare", "skewed", 4, tau, drop) for tau in SPREADS[::2] for drop in (0.0, 3.0)),
]


def print_rows(table: Table, rule: str, noise: str, groups, drops) -> None:
    """One line a group (sessions, tau), one column a drop."""
    for sessions, tau in groups:
        results = (table.results[Cell(rule, noise, sessions, tau, drop)] for drop in drops)
        print(f"  {noise:<14} {sessions:>2} sessions, tau {tau:<4g} | " + " | ".join(map(str, results)))


def report(table: Table) -> None:
    """The whole table, then the figures with their limits."""
    head = "pass / fail / inconclusive, mean rounds, for true drops of "
    grid = [(k, tau) for k in SESSIONS for tau in SPREADS]
    print(f"Usual rules: {head}{', '.join(f'{d:g}' for d in DROPS)} pp; then none with tau 0.6, 1.2, and AR(1) .6")
    for rule in peer_rules.RULES:
        keys = [Cell(rule, "normal", 1, 0.0, drop) for drop in DROPS]
        keys += [Cell(rule, "normal", 1, tau, 0.0) for tau in SPREADS[1:]] + [Cell(rule, "AR(1) .6", 1, 0.0, 0.0)]
        print(f"  {rule:<33} | " + " | ".join(str(table.results[key]) for key in keys))
    print(f"\nOurs, against stored sessions: {head}{', '.join(f'{d:g}' for d in DROPS)} pp")
    for noise in NOISES:
        print_rows(table, "stored", noise, grid, DROPS)
    print(f"\nThe same, heavy-tailed TTFT by medians, delta 20 %: {head}{', '.join(f'{d:g}' for d in TTFT_DROPS)} %")
    print_rows(table, "stored", "TTFT", [(k, tau) for k in SESSIONS for tau in TTFT_SPREADS], TTFT_DROPS)
    print("\nOurs, few sessions, a spread of 1.2 pp assumed: drops of 0, 3, 5 pp")
    print_rows(table, "stored", "normal", [(k, tau) for k in (1, 2, 3) for tau in SPREADS], FEW)
    print("\nOurs, sessions that differ by two and three deltas: drops of 0, 3, 5 pp")
    print_rows(table, "stored", "normal", [(k, tau) for k in (4, 20) for tau in WIDE_SPREADS], FEW)
    print("\nOurs, sessions that drift, points a round; partly beyond what it promises: drops of 0, 2, 3 pp")
    for noise in DRIFTS:
        print_rows(table, "stored", noise, [(k, 0.0) for k in (8, 20)], (0.0, 2.0, 3.0))
    print("\nOurs, beyond what it promises: drops of 0, 3, 5 pp")
    for noise, description in BEYOND_IT.items():
        print(f"  {noise}: {description}")
        print_rows(table, "stored", noise, [(k, tau) for k in (8, 20) for tau in SPREADS[:2]], FEW)
    print(f"\nOurs, interleaved pairs: {head}{', '.join(f'{d:g}' for d in DROPS)} pp (TTFT: ten times as many %)")
    for noise in (*NOISES, *OWN_MEMORY):
        print_rows(table, "paired", noise, [(1, 0.0)], DROPS)
    print_rows(table, "paired", "TTFT", [(1, 0.0)], TTFT_DROPS)
    print("\nOurs, rounded values, stored and by pairs: drops of 0, 3, 5 pp")
    for rule, sessions in (("stored", 8), ("paired", 1)):
        for noise in ROUNDED:
            print_rows(table, rule, noise, [(sessions, 0.0)], FEW)
    print("\nOurs, 20 gates in one healthy run: every one passes / one fails / else, rounds of the longest")
    for cell in FAMILIES:
        print(
            f"  {cell.rule:<13} {cell.noise:<7} {cell.sessions:>2} sessions, tau {cell.tau:<4g} | {table.results[cell]}"
        )
    print("\nOurs, limit gates, true value on the limit, and 2 pp below it")
    for noise in LIMIT_NOISES:
        print_rows(table, "limit", noise, [(1, 0.0)], (0.0, 2.0))
    print("\nOurs, limit gates, true value on the limit, and 1, 2, 4 pp above it")
    for noise in ("normal", "skewed at 90"):
        print_rows(table, "limit", noise, [(1, 0.0)], ABOVE)
    print("\nOurs, limit gates, true value on the limit: long tails and rates; the last four beyond what it promises")
    for noise in (*LIMIT_TAILS, *LIMIT_BEYOND):
        print_rows(table, "limit", noise, [(1, 0.0)], (0.0,))
    print(
        f"\nOurs, limit gates that bet, {LOOK_EVERY} to {MOST_BETS} rounds, true value on the limit; skewed: 8.7 above"
    )
    for cell in BETTING:
        print_rows(table, cell.rule, cell.noise, [(1, 0.0)], (cell.drop,))
    print("\nOurs, stored sessions against as many (`pytest-llmperf compare`): drops of 0, 2, 3 pp; skewed: 0, 3")
    print_rows(table, "compare", "normal", [(12, 1.2)], (0.0, 2.0, 3.0))
    print_rows(table, "compare", "skewed", [(4, tau) for tau in SPREADS[::2]], (0.0, 3.0))
    figures(table)


def figures(table: Table) -> None:
    """Each figure with its limit."""
    print("\nFigures and limits")
    results = table.results

    def stored(sessions: int, tau: float, drop: float, noise: str = "normal") -> Result:
        return results[Cell("stored", noise, sessions, tau, drop)]

    for noise in (*NOISES, "TTFT"):
        delta = TTFT_DELTA if noise == "TTFT" else DELTA
        for sessions in SESSIONS:
            for tau in TTFT_SPREADS if noise == "TTFT" else SPREADS:
                where = f"{noise}, {sessions} sessions, tau {tau:g}"
                table.figure(f"1. false alarms: {where}", stored(sessions, tau, 0.0, noise).failed, 1, most=True)
                beyond = stored(sessions, tau, DETECT_DELTAS * delta, noise).passed
                table.figure(f"5. passes at 1.5 delta: {where}", beyond, 1, most=True)
    _figures_of_wide_spreads(table)
    for rule, sessions in (("stored", 8), ("paired", 1)):
        for noise in ROUNDED:
            none, beyond = (results[Cell(rule, noise, sessions, 0.0, drop)] for drop in (0.0, DETECT_DELTAS * DELTA))
            table.figure(f"6. {rule}, rounded {noise}: false alarms", none.failed, 1, most=True)
            table.figure(f"6. {rule}, rounded {noise}: passes at 1.5 delta", beyond.passed, 1, most=True)
    table.figure("2. 20 sessions, tau 0: 2 pp drops that fail", stored(20, 0.0, 2.0).failed, 95, most=False)
    table.figure("2. 20 sessions, tau 0: 3 pp drops that fail", stored(20, 0.0, 3.0).failed, 99.5, most=False)
    table.figure("2. 20 sessions, tau 0: healthy runs that pass", stored(20, 0.0, 0.0).passed, 95, most=False)
    rounds = stored(20, 0.0, 0.0).rounds
    table.figure("2. 20 sessions, tau 0: mean rounds of healthy runs", rounds, 6.5, most=True, unit="rounds")
    table.figure("2. 20 sessions, tau 0.6: 3 pp drops that fail", stored(20, 0.6, 3.0).failed, 90, most=False)
    table.figure("2. 4 sessions, tau 0: 5 pp drops that fail", stored(4, 0.0, 5.0).failed, 90, most=False)
    for noise in NOISES:
        none, two, three = (results[Cell("paired", noise, 1, 0.0, d)] for d in (0.0, 2.0, 3.0))
        table.figure(f"3. pairs, {noise}: false alarms", none.failed, 1, most=True)
        table.figure(f"3. pairs, {noise}: 2 pp drops that fail", two.failed, 95, most=False)
        table.figure(f"3. pairs, {noise}: healthy runs that pass", none.passed, 95, most=False)
        table.figure(f"3. pairs, {noise}: mean pairs of healthy runs", none.rounds, 12, most=True, unit="pairs")
        table.figure(f"3. pairs, {noise}: mean pairs of 2 pp drops", two.rounds, 12, most=True, unit="pairs")
        table.figure(f"5. pairs, {noise}: passes at 1.5 delta", three.passed, 1, most=True)
    for cell in FAMILIES:
        where = f"{cell.rule}, {cell.noise}, {cell.sessions} sessions, tau {cell.tau:g}"
        table.figure(f"4. 20 gates: healthy runs that fail: {where}", results[cell].failed, 1, most=True)
    for cell in COMPARED:
        where = f"{cell.sessions} against {cell.sessions} sessions, {cell.noise}, tau {cell.tau:g}"
        if not cell.drop:
            table.figure(f"7. compare: false alarms: {where}", results[cell].failed, 1, most=True)
        if cell.drop == DETECT_DELTAS * DELTA:
            table.figure(f"7. compare: passes at 1.5 delta: {where}", results[cell].passed, 1, most=True)
        if cell.drop and cell.sessions > SESSIONS[0]:
            limit = 75 if cell.drop == DELTA else 98
            name = f"7. compare: {cell.drop:g} pp drops that fail: {where}"
            table.figure(name, results[cell].failed, limit, most=False)
    for noise in (noise for noise in (*LIMIT_NOISES, *LIMIT_TAILS) if not noise.startswith("AR(1)")):
        limit = results[Cell("limit", noise, 1, 0.0, 0.0)]
        table.figure(f"limit gates, {noise}: fail with the true value on the limit", limit.failed, 2.5, most=True)
        table.figure(f"limit gates, {noise}: pass with the true value on the limit", limit.passed, 2.5, most=True)
    _figures_of_bets(table)


def _figures_of_bets(table: Table) -> None:
    """Errors and rounds of limit gates that bet."""
    for cell in BETTING:
        result = table.results[cell]
        if cell.drop:
            table.figure(
                f"9. betting, {cell.noise}, {-cell.drop} pp above: mean rounds",
                result.rounds,
                60,
                most=True,
                unit="rounds",
            )
            continue
        table.figure(f"9. betting, {cell.noise}: fail with the true value on the limit", result.failed, 2.5, most=True)
        table.figure(f"9. betting, {cell.noise}: pass with the true value on the limit", result.passed, 2.5, most=True)


def _figures_of_wide_spreads(table: Table) -> None:
    """Errors if sessions differ by two and three deltas."""
    for sessions in (4, 20):
        for tau in WIDE_SPREADS:
            where = f"sessions differ by {tau:g} pp, {sessions} sessions"
            table.figure(
                f"8. {where}: false alarms",
                table.results[Cell("stored", "normal", sessions, tau, 0.0)].failed,
                1,
                most=True,
            )
            beyond = table.results[Cell("stored", "normal", sessions, tau, DETECT_DELTAS * DELTA)].passed
            table.figure(f"8. {where}: passes at 1.5 delta", beyond, 1, most=True)


def announced(
    results: Iterable[tuple[Cell, Result]], tasks: Sequence[tuple[Cell, int]]
) -> Iterator[tuple[Cell, Result]]:
    """The results in the order in which they arrive; a line on stderr when the last cell of a rule has ended."""
    started, left = time.monotonic(), Counter(cell.rule for cell, _ in tasks)
    for done, (cell, result) in enumerate(results, start=1):
        left[cell.rule] -= 1
        if not left[cell.rule]:
            elapsed_s = time.monotonic() - started
            print(f"{cell.rule} ended: {done} of {len(tasks)} cells in {elapsed_s:.0f} s", file=sys.stderr, flush=True)
        yield cell, result


def main(arguments: list[str] | None = None) -> int:
    """Simulates, prints, and says whether every figure holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--chart", type=Path, help="draw the operating characteristics as SVG")
    parser.add_argument("--only-chart", action="store_true", help="simulate and draw nothing else")
    given = parser.parse_args(arguments)
    runs, started = min(given.runs, 400) if given.quick else given.runs, time.monotonic()
    tasks = [(cell, runs) for cell in cells() if not given.only_chart or verdict_chart.charted(cell)]
    if given.processes > 1:
        with Pool(given.processes) as pool:
            results = dict(announced(pool.imap_unordered(simulate, tasks), tasks))
    else:
        results = dict(announced(map(simulate, tasks), tasks))
    if given.chart:
        conditions = f"rounds with sd {SD:g} points, delta {DELTA:g} points, 5 to {MOST} rounds; {runs} runs a point"
        verdict_chart.draw(results, given.chart, conditions)
    if given.only_chart:
        return 0
    table = Table(results=results, runs=runs, forgiving=4.0 if given.quick else 0.0)
    report(table)
    print(f"\n{len(results)} cells of {runs} runs in {time.monotonic() - started:.0f} s; ", end="")
    print("every figure holds" if not table.short else f"{len(table.short)} FALL SHORT: {'; '.join(table.short)}")
    return 1 if table.short else 0


if __name__ == "__main__":
    raise SystemExit(main())
