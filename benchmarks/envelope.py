"""Where the promises of verdicts hold: the shipped code, simulated over a grid much wider than that of verdicts.py.

    python benchmarks/envelope.py [--runs 20000] [--shard 1/4] [--csv FILE] [--page PAGE]   (`make verdicts-wide`)
    python benchmarks/envelope.py --chosen                                                  (in `make verdicts`)

Results go to the CSV as they come: a run that was interrupted, or asked for more runs, goes on; shards share the file.
A cell is simulated again if it has too few runs, or if the version of its rule has changed. `--chosen` simulates every
seventeenth cell, with fewer runs, and exits 1 if a promise is broken there that the page does not list as broken.
"""

from __future__ import annotations

import argparse
import csv
import functools
import io
import math
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from multiprocessing import Pool
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import whole_runs
from benchmarks.envelope_cells import Cell, grid, losses, values_of
from benchmarks.whole_runs import FAIL, OPEN, PASS
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.regression import session_means
from pytest_llmperf.judge.regression.effect_scale import Scale
from pytest_llmperf.model import Bound, Gate, Outcome

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "envelope.csv"
DELTAS = {"efficiency": 2.0, "tok/s": 20.0, "ttft": 20.0}
"""The defaults, in points or percent."""
BATCH = 2000
BEYOND = 1.5
"""Deltas lost that must not pass."""
PROMISES = {"stored": 1.0, "pairs": 1.0, "compare": 1.0, "limit": 2.5, "betting": 2.5}
"""The largest share of wrong verdicts on each side, percent."""
LOOK_EVERY = 5
"""Rounds between two looks of a gate that bets."""
ALONE, MOST_ALONE = ("cv", "ttft"), 1000
"""Limit gates on these are judged one by one: a hundred times as long."""
ERRORS = 3.0
"""Standard errors that a measured share may be above its promise."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a simulated cell.

    Attributes:
        runs: the number of runs on each side.
        fails: percent of runs that `fail` although nothing is lost, or the true value is on the limit. For a family of
            gates: percent of runs in which at least one gate fails, if the gates were independent.
        passes: percent of runs that `pass` although 1.5 delta is lost, or the true value is on the limit.
        open: percent of runs that are inconclusive if nothing is lost, or the true value is on the limit.
        rounds: mean number of rounds if nothing is lost, or the true value is on the limit.
    """

    runs: int
    fails: float
    passes: float
    open: float
    rounds: float

    def broken(self, cell: Cell) -> list[str]:
        """The promises that it breaks beyond chance; the share of a family is that of a gate, times their number."""
        promise = PROMISES[cell.rule]
        error = 100 * math.sqrt(promise / 100 * (1 - promise / 100) / self.runs)
        shares = (("fail", self.fails, math.sqrt(cell.gates) * error), ("pass", self.passes, error))
        return [name for name, share, own in shares if share > promise + ERRORS * own]


def simulate(task: tuple[Cell, int]) -> tuple[Cell, Result]:
    """One cell; the seed depends on the cell only."""
    cell, runs = task[0], runs_of(*task)
    rng = np.random.default_rng(zlib.crc32(cell.name.encode()))
    parts = [_simulate(cell, rng, min(BATCH, runs - start)) for start in range(0, runs, BATCH)]
    fails, passes, open_, rounds = (float(np.mean(np.concatenate(columns))) for columns in zip(*parts, strict=True))
    in_family = 1 - (1 - fails) ** cell.gates
    return cell, Result(runs=runs, fails=100 * in_family, passes=100 * passes, open=100 * open_, rounds=rounds)


def runs_of(cell: Cell, runs: int) -> int:
    """The number of runs of a cell if `runs` are requested: fewer if they are judged one by one."""
    return min(runs, MOST_ALONE) if cell.rule == "limit" and cell.metric in ALONE else runs


def _simulate(cell: Cell, rng, runs: int):
    """By run: does it fail wrongly, pass wrongly, is it open, and its rounds."""
    if cell.rule in ("limit", "betting"):
        codes, rounds = _limit(cell, rng, runs)
        return codes == FAIL, codes == PASS, codes == OPEN, rounds
    codes, rounds = _comparison(cell, rng, runs, 0.0)
    beyond, _ = _comparison(cell, rng, runs, BEYOND * DELTAS[cell.metric])
    return codes == FAIL, beyond == PASS, codes == OPEN, rounds


def _comparison(cell: Cell, rng, runs: int, lost: float):
    """Outcomes and rounds of a regression gate, when this much is lost."""
    logs, median, delta = cell.metric != "efficiency", cell.metric == "ttft", DELTAS[cell.metric]
    unit, bound = ("%", Bound.MAX if median else Bound.MIN) if logs else ("pp", Bound.MIN)
    scale = Scale(bound=bound, unit=unit, logs=logs)
    noisier = replace(cell, sd=cell.sd * cell.ratio)
    between = cell.spread * cell.sd
    new_shape = (runs, cell.sessions, cell.stored) if cell.rule == "compare" else (runs, cell.most)
    new = losses(noisier, rng, new_shape) + between * rng.standard_normal((*new_shape[:-1], 1)) + scale.shift(lost)
    candidate = values_of(cell, new)
    if cell.rule == "pairs":
        incumbent = values_of(cell, losses(cell, rng, new_shape))
        return whole_runs.judge_pairs(scale, incumbent, candidate, delta=delta, gates=cell.gates)
    old_shape = runs, cell.sessions, cell.stored
    old = values_of(cell, losses(cell, rng, old_shape) + between * rng.standard_normal((*old_shape[:-1], 1)))
    if cell.rule == "compare":
        return whole_runs.judge_session_means(scale, old, candidate, delta=delta), np.full(runs, cell.stored)
    return whole_runs.judge_sessions(scale, old, candidate, median=median, delta=delta, gates=cell.gates)


def _limit(cell: Cell, rng, runs: int):
    """Outcomes and rounds of a limit gate, the true value on the limit."""
    shape = runs, cell.most
    values = values_of(cell, losses(cell, rng, shape) + cell.spread * cell.sd * rng.standard_normal((runs, 1)))
    if cell.rule == "betting":
        return whole_runs.judge_betting(values, cell.centre, 100.0, every=LOOK_EVERY)
    if cell.metric == "efficiency":
        return whole_runs.judge_limit(values, cell.centre, metric_of("efficiency_pct").shape)
    if cell.metric == "tok/s":
        return whole_runs.judge_limit(values, 100.0 * math.exp(cell.sd**2 / 2), metric_of("decode_tok_s").shape)
    return _each_alone(cell, values)


def _each_alone(cell: Cell, values):
    """Limit gates on medians and coefficients of variation, judged run by run."""
    metric, limit = ("ttft_ms", _median(cell)) if cell.metric == "ttft" else ("decode_tok_s_cv_pct", cell.sd)
    gate = Gate(marker="envelope", metric=metric, bound=Bound.MAX, limit=limit, source="here")
    codes, rounds = np.full(len(values), OPEN), np.full(len(values), cell.most)
    for index, row in enumerate(values.tolist()):
        for n in range(whole_runs.FIRST, cell.most + 1):
            verdict = judge_values(gate, row[:n], looks=cell.most - whole_runs.FIRST + 1, last=n == cell.most)
            if verdict.outcome is not Outcome.INCONCLUSIVE:
                codes[index], rounds[index] = PASS if verdict.outcome is Outcome.PASS else FAIL, n
                break
    return codes, rounds


@functools.cache
def _median(cell: Cell) -> float:
    """The true median, from a million rounds."""
    return float(np.median(values_of(cell, losses(cell, np.random.default_rng(1), (1_000_000, 1)))))


PROBES = (
    ("efficiency_pct", (98.7, 97.1, 99.2, 98.4, 99.6)),
    ("efficiency_pct", (90.0, 90.2, 90.1, 90.1, 90.2)),
    ("decode_tok_s", (80.0, 95.0, 120.0, 70.0, 101.0)),
    ("ttft_ms", tuple(100.0 + 7 * n % 31 for n in range(12))),
    ("decode_tok_s_cv_pct", (80.0, 95.0, 120.0, 70.0, 101.0)),
)
"""Rounds whose intervals tell one rule for limits from another."""


def version_of(rule: str) -> str:
    """The version of a rule, as a verdict names it; limit gates have a checksum of some intervals."""
    if rule == "compare":
        return session_means.RULE
    gate = Gate(marker="envelope", metric="efficiency_pct", bound=Bound.MIN, limit=95.0, source="here")
    if rule == "limit":
        verdicts = [judge_values(replace(gate, metric=name), values, looks=16) for name, values in PROBES]
        return f"limit {zlib.crc32(repr([(verdict.low, verdict.high) for verdict in verdicts]).encode()):08x}"
    values, against = [98.0, 98.4, 98.1], [98.0, 98.5, 98.2] if rule == "pairs" else None
    if rule == "betting":
        return judge_values(replace(gate, robust=True), values, looks=1).rule
    compared = replace(gate, delta=2.0, reference=((98.0, 98.5, 98.2),) * 4 if rule == "stored" else ())
    return judge_values(compared, values, looks=1, incumbent=against).rule


def read(path: Path) -> dict[str, tuple[str, Result]]:
    """The version of the rule and the result, by the cell's name; the row with the most runs of a name counts."""
    if not path.exists():
        return {}
    known: dict[str, tuple[str, Result]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            figures = {name: float(row[name]) for name in ("fails", "passes", "open", "rounds")}
            result = Result(runs=int(row["runs"]), **figures)
            before = known.get(row["cell"])
            if before is None or before[0] != row["version"] or before[1].runs <= result.runs:
                known[row["cell"]] = row["version"], result
    return known


PARAMETERS = tuple(field.name for field in fields(Cell))
FIGURES = tuple(field.name for field in fields(Result))


def _row(cell: Cell, version: str, result: Result) -> list[object]:
    """A row of the file: every parameter of the cell, and what was measured."""
    measured = [f"{getattr(result, name):.6g}" for name in FIGURES]
    return [cell.name, version, *(getattr(cell, name) for name in PARAMETERS), *measured]


def append(path: Path, cell: Cell, version: str, result: Result) -> None:
    """Add a result to the file; several shards may share it."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    if not path.exists():
        rows.writerow(("cell", "version", *PARAMETERS, *FIGURES))
    rows.writerow(_row(cell, version, result))
    with path.open("a", newline="", encoding="utf-8") as file:
        file.write(text.getvalue())


def tidy(path: Path, cells: Sequence[Cell]) -> None:
    """One row for each cell, in the order of the grid, in place of all that were added."""
    known, tidied = read(path), path.with_suffix(".part")
    with tidied.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("cell", "version", *PARAMETERS, *FIGURES))
        rows.writerows(_row(cell, *known[cell.name]) for cell in cells if cell.name in known)
    tidied.replace(path)


def table(cells: Sequence[Cell], known: Mapping[str, tuple[str, Result]]) -> list[str]:
    """A row for each rule and group of cells, then a row for each cell in which a promise is broken."""
    lines = [
        "| rule | what varies | over | cells | runs a cell | wrong `fail`, worst | wrong `pass`, worst | "
        "inconclusive, median | promise kept |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.name in known:
            groups.setdefault((cell.rule, cell.group), []).append(cell)
    for (rule, group), own in groups.items():
        results = [known[cell.name][1] for cell in own]
        kept = sum(not result.broken(cell) for cell, result in zip(own, results, strict=True))
        lines.append(
            f"| {rule} | {group} | {_ranges(own)} | {len(own)} | {min(result.runs for result in results)} | "
            f"{max(result.fails for result in results):.2f} | {max(result.passes for result in results):.2f} | "
            f"{np.median([result.open for result in results]):.0f} | "
            f"{'in all' if kept == len(own) else f'in {kept} of {len(own)}'} |"
        )
    lines += ["", "| rule | cell | wrong `fail` | wrong `pass` | inconclusive |", "|---|---|---|---|---|"]
    for cell in cells:
        if cell.name in known and (result := known[cell.name][1]).broken(cell):
            lines.append(
                f"| {cell.rule} | {cell.name.partition(' ')[2]} | {result.fails:.2f} | {result.passes:.2f} | "
                f"{result.open:.0f} |"
            )
    return lines


def _ranges(cells: Sequence[Cell]) -> str:
    """The values of what differs between the cells of a group."""
    texts = []
    for field in fields(Cell):
        values = list(dict.fromkeys(getattr(cell, field.name) for cell in cells))
        if field.name not in ("group", "rule", "metric") and len(values) > 1:
            numbers = all(isinstance(value, float | int) for value in values)
            shown = ", ".join(f"{value:g}" for value in sorted(values)) if numbers else ", ".join(map(str, values))
            texts.append(f"{field.name} {shown}")
    return "; ".join(texts)


MARK = "<!-- envelope: made by make verdicts-wide -->"


def write_page(path: Path, lines: Sequence[str]) -> None:
    """Put the table between the marks of the page."""
    head, mark, rest = path.read_text(encoding="utf-8").partition(MARK)
    _, end, tail = rest.partition("<!-- end -->")
    if not mark or not end:
        raise SystemExit(f"{path} has no {MARK} ... <!-- end -->")
    path.write_text("\n".join((head + mark, "", *lines, "", end + tail)), encoding="utf-8")


CHOSEN_RUNS = 2000


def chosen(cells: Sequence[Cell]) -> list[Cell]:
    """Every seventeenth cell: some of each group."""
    return list(cells[::17])


def main(arguments: list[str] | None = None) -> int:
    """Simulate what is missing, write the CSV, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--shard", default="1/1", help="K/N: each Nth cell, from the Kth")
    parser.add_argument("--csv", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--chosen", action="store_true")
    given = parser.parse_args(arguments)
    cells = grid()
    if given.chosen:
        return check_chosen(chosen(cells), given.csv, given.processes)
    known, versions = read(given.csv), {rule: version_of(rule) for rule in PROMISES}
    shard, shards = map(int, given.shard.split("/"))
    missing = [cell for cell in cells[shard - 1 :: shards] if _lacks(cell, known, versions, given.runs)]
    started = time.monotonic()
    print(f"{len(missing)} of {len(cells)} cells to simulate, {given.runs} runs each", flush=True)
    for cell, result in _simulated(missing, given.runs, given.processes):
        append(given.csv, cell, versions[cell.rule], result)
    if shards == 1:
        tidy(given.csv, cells)
    lines = table(cells, read(given.csv))
    print("\n".join(lines))
    print(f"{len(missing)} cells in {time.monotonic() - started:.0f} s")
    if given.page:
        write_page(given.page, lines)
    return 0


def check_chosen(cells: Sequence[Cell], path: Path, processes: int) -> int:
    """Simulate some cells anew; 1 if a promise is broken that the stored results keep."""
    known = read(path)
    results = dict(_simulated(cells, CHOSEN_RUNS, processes))
    fresh = {cell.name: ("", result) for cell, result in results.items()}
    print("\n".join(table(cells, fresh)))
    broken = [
        cell.name
        for cell, result in results.items()
        if result.broken(cell) and not (cell.name in known and known[cell.name][1].broken(cell))
    ]
    print(f"{len(cells)} cells; " + ("none worse than listed" if not broken else f"BROKEN: {'; '.join(broken)}"))
    return 1 if broken else 0


def _lacks(cell: Cell, known: Mapping[str, tuple[str, Result]], versions: Mapping[str, str], runs: int) -> bool:
    """Whether a cell has too few runs under the rule of today."""
    version, result = known.get(cell.name, ("", None))
    return result is None or version != versions[cell.rule] or result.runs < runs_of(cell, runs)


def _simulated(cells: Sequence[Cell], runs: int, processes: int) -> Iterator[tuple[Cell, Result]]:
    """The cells with their results, as they come."""
    tasks = [(cell, runs) for cell in cells]
    if processes == 1:
        yield from map(simulate, tasks)
        return
    with Pool(processes) as pool:
        yield from pool.imap_unordered(simulate, tasks)


if __name__ == "__main__":
    raise SystemExit(main())
