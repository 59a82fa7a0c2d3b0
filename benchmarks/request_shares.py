"""How often gates on a share of requests are wrong when the requests of one round resemble each other.

    python benchmarks/request_shares.py [--runs 20000] [--page docs/verdicts-appendix.md]   (in `make verdicts-wide`)
    python benchmarks/request_shares.py --runs 400                                          (in `make verdicts`)

The true share of bad requests is the limit. Rounds have a share of their own: `spread` (a beta distribution), `rare`
(few rounds have bad requests, the others none) or `background` (rare rounds are bad as a whole, and a few requests of
every other round are bad). Judged by the functions that judge gates, after each round. Exits 1 if a promise is broken
in a cell for which it is made.
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from dataclasses import dataclass
from itertools import product
from multiprocessing import Pool
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.whole_runs import FAIL, PASS, whole_runs
from pytest_llmperf.judge.stats.betting import log_capital, log_target
from pytest_llmperf.judge.stats.confidence_intervals import alpha_of_look
from pytest_llmperf.judge.stats.requests.share_of_requests import effective_counts, excluded

PROMISE, ERRORS = 2.5, 3.0
"""Percent of wrong verdicts on each side; standard errors that a measured share may be above that."""
MARK, END = "<!-- request shares -->", "<!-- end of request shares -->"
BATCH = 2000
NEAR = 1.9
"""Standard errors: nothing nearer is beyond an exact tail of 1.75 % (2.02 at least, of six million counts)."""
CORRELATIONS = (0.0, 0.2, 0.6)


@dataclass(frozen=True)
class Cell:
    """One situation.

    Attributes:
        rule: `share`, or `betting`.
        kind: how the shares of rounds differ, see the module.
        limit: the true share of bad requests.
        correlation: between requests of one round.
        requests: of a round.
        most: rounds.
    """

    rule: str
    kind: str
    limit: float
    correlation: float
    requests: int
    most: int

    @property
    def promised(self) -> bool:
        """Whether the rule promises its error here."""
        return self.rule == "betting" or self.kind != "background"


def cells() -> tuple[Cell, ...]:
    """Every cell: percentiles 99, 95, 90, 70 and 50, in rounds enough to show them; 95 also in fewer."""
    lengths = {0.05: (20, 60), 0.1: (60,), 0.3: (20,), 0.5: (20,)}
    sizes = {"spread": (2, 8, 64), "rare": (2, 8, 64), "background": (8, 64)}
    clustered = [
        Cell("share", kind, limit, rho, m, most)
        for limit, own in lengths.items()
        for kind, rho, most in product(sizes, CORRELATIONS[1:], own)
        for m in sizes[kind]
    ]
    alone = [
        Cell("share", "spread", limit, 0.0, m, most)
        for limit, own in lengths.items()
        for m in (2, 8, 64)
        for most in own
    ]
    alone += [Cell("share", kind, 0.01, rho, 8, 300) for kind, rho in (("spread", 0.0), ("spread", 0.6), ("rare", 0.6))]
    bets = [
        Cell("betting", kind, limit, 0.6, 8, 100) for kind in ("spread", "rare", "background") for limit in (0.05, 0.3)
    ]
    return (*alone, *clustered, *bets)


def bad_requests(rng: np.random.Generator, cell: Cell, runs: int) -> np.ndarray:
    """Bad requests by run and round."""
    shape, p, rho = (runs, cell.most), cell.limit, cell.correlation
    if not rho:
        shares = np.full(shape, p)
    elif cell.kind == "spread":
        whole = 1 / rho - 1
        shares = rng.beta(p * whole, (1 - p) * whole, shape)
    elif cell.kind == "rare":
        own = p + (1 - p) * rho
        shares = np.where(rng.random(shape) < p / own, own, 0.0)
    else:
        good = (1 - p) + p * rho
        shares = 1 - np.where(rng.random(shape) < (1 - p) / good, good, 0.0)
    return rng.binomial(cell.requests, shares)


def simulate(task: tuple[Cell, int]) -> tuple[Cell, tuple[float, float, float]]:
    """A cell: percent that pass and fail, and the mean rounds; the seed depends on the cell only."""
    cell, runs = task
    rng = np.random.default_rng(zlib.crc32(repr(cell).encode()))
    parts = [_judged(cell, bad_requests(rng, cell, min(BATCH, runs - start))) for start in range(0, runs, BATCH)]
    codes, rounds = (np.concatenate(column) for column in zip(*parts, strict=True))
    return cell, (100 * float((codes == PASS).mean()), 100 * float((codes == FAIL).mean()), float(rounds.mean()))


def _judged(cell: Cell, bad: np.ndarray):
    sizes = np.full(cell.most, float(cell.requests))

    def by_share(rows, n: int, looks: int):
        alpha = alpha_of_look(looks, last=n == cell.most)
        counts, wholes = effective_counts(bad[rows, :n], sizes[:n])
        # Within NEAR standard errors nothing is excluded: most rows need no exact tail.
        errors = np.sqrt(wholes * cell.limit * (1 - cell.limit))
        (far,) = np.nonzero(np.abs(counts - wholes * cell.limit) > NEAR * errors)
        decided = np.zeros((2, len(rows)), dtype=bool)
        for row, count, whole in zip(far.tolist(), counts[far].tolist(), wholes[far].tolist(), strict=True):
            decided[:, row] = excluded(count, whole, cell.limit, alpha)
        return decided

    def by_betting(rows, n: int, _: int):
        good = 1 - bad[rows, :n] / cell.requests
        passed = log_capital(good, 1 - cell.limit) >= log_target()
        return passed, log_capital(1 - good, cell.limit) >= log_target()

    return whole_runs(bad.shape, by_betting if cell.rule == "betting" else by_share)


def table(results: dict[Cell, tuple[float, float, float]], runs: int) -> list[str]:
    """The results for the page: a row for each rule, kind, limit and length, the worst of the sizes of a round."""
    lines = [
        f"{runs} runs a cell; percent that pass / fail with the true share on the limit, the worst of 2, 8 and 64 "
        "requests a round (8 for betting and P99; 8 and 64 for background).",
        "",
        "| rule | rounds differ | percentile | at most | correlation 0 | 0.2 | 0.6 |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str, float, int], dict[float, list[tuple[float, float, float]]]] = {}
    for cell, result in results.items():
        rows = groups.setdefault((cell.rule, cell.kind, cell.limit, cell.most), {})
        rows.setdefault(cell.correlation, []).append(result)
    for (rule, kind, limit, most), by in sorted(groups.items(), key=lambda item: (item[0][0] == "betting", item[0])):
        shown = [
            f"{max(r[0] for r in by[rho]):.2f} / {max(r[1] for r in by[rho]):.2f}" if rho in by else ""
            for rho in CORRELATIONS
        ]
        lines.append(f"| {rule} | {kind} | {100 - 100 * limit:g} | {most} rounds | {' | '.join(shown)} |")
    return lines


def broken(cell: Cell, result: tuple[float, float, float], runs: int) -> bool:
    """Whether a cell breaks a promise beyond chance."""
    error = 100 * math.sqrt(PROMISE / 100 * (1 - PROMISE / 100) / runs)
    return cell.promised and max(result[:2]) > PROMISE + ERRORS * error


def _simulated(tasks: list[tuple[Cell, int]], processes: int):
    """The cells with their results, as they come."""
    if processes == 1:
        yield from map(simulate, tasks)
        return
    with Pool(processes) as pool:
        yield from pool.imap_unordered(simulate, tasks)


def main(arguments: list[str] | None = None) -> int:
    """Simulates, prints, and says whether every promise is kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--page", type=Path, help="write the table between its marks on this page")
    given = parser.parse_args(arguments)
    tasks = [(cell, given.runs) for cell in cells()]
    results = {}
    for cell, result in _simulated(tasks, given.processes):
        results[cell] = result
        if broken(cell, result, given.runs):
            print(f"BROKEN {cell}: {result[0]:.2f} % pass, {result[1]:.2f} % fail", flush=True)
    ordered = {cell: results[cell] for cell, _ in tasks}
    lines = table(ordered, given.runs)
    print("\n".join(lines))
    if given.page:
        text = given.page.read_text(encoding="utf-8")
        before, rest = text.split(f"{MARK}\n")
        given.page.write_text(f"{before}{MARK}\n{chr(10).join(lines)}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    short = [cell for cell, result in ordered.items() if broken(cell, result, given.runs)]
    print(f"\n{len(ordered)} cells: {'every promise is kept' if not short else f'{len(short)} BROKEN'}")
    return 1 if short else 0


if __name__ == "__main__":
    raise SystemExit(main())
