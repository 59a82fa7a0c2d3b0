"""How long `baselines.load` takes for files of 100,000 rounds of every metric, as `--llmperf-save` writes them.

Prints a row a shape: best of N, over one plain pass over the same file that reads each of its numbers. Exit code 1 if
one is above its limit.
"""

import argparse
import random
import re
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.rows import Row, show
from pytest_llmperf.judge.baselines import baseline_files, store
from pytest_llmperf.judge.metrics.catalogue import CONTINUOUS
from pytest_llmperf.model import KEYS, SCHEMA, Baseline, Stored, StoredSession

SHAPES = (
    # tests, sessions of each, rounds of each, limit over the plain pass (None: shown only)
    (1, 10, 10_000, 2.0),
    (10, 100, 100, 2.0),
    (50, 100, 20, None),
    (100, 200, 5, None),
)

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?")


def read_numbers(text: str) -> list[float]:
    """One pass over the same data."""
    return [float(number) for number in _NUMBER.findall(text)]


def baseline_of(tests: int, sessions: int, rounds: int) -> Baseline:
    """Figures with nine digits of ten metrics and two counts, a whole manifest, a commit a session."""
    figures = random.Random(108)

    def session(number: int) -> StoredSession:
        series = {name: tuple(float(f"{figures.gauss(95, 1):.9g}") for _ in range(rounds)) for name in CONTINUOUS}
        flags = dict.fromkeys(("contended_ttft", "contended_throughput"), (0.0,) * rounds)
        facts = {**{key: f"what is known of {key}" for key in KEYS}, "git_commit": f"{number:040x}"}
        return StoredSession(saved_at="2026-01-01T00:00:00+00:00", manifest=facts, rounds={**series, **flags})

    stored = tuple(
        Stored(
            test=f"perf/test_team.py::test_{number}",
            scenario="pair",
            topology="dual",
            workload="0123456789abcdef",
            session=tuple(session(index) for index in range(sessions)),
        )
        for number in range(tests)
    )
    return Baseline(schema=SCHEMA, name="huge", stored=stored)


def best_s(work: Callable[[], object], times: int) -> float:
    """The shortest of several times."""
    rows = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        rows.append(time.perf_counter() - start)
    return min(rows)


def rows(times: int, shapes: Sequence[tuple[int, int, int, float | None]] = SHAPES) -> list[Row]:
    """A row a shape."""
    rows = []
    for tests, sessions, rounds, most in shapes:
        with tempfile.TemporaryDirectory() as folder:
            path, baseline = Path(folder) / "huge.toml", baseline_of(tests, sessions, rounds)
            store.edit(path, lambda _, made=baseline: made, new=baseline)
            load_s = best_s(lambda file=path: baseline_files.load(file), times)
            bare_s = best_s(lambda file=path: tomllib.loads(file.read_text("utf-8")), times)
            pass_s = best_s(lambda file=path: read_numbers(file.read_text("utf-8")), times)
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            beside = f"{size} in {load_s:.2f} s, of which tomllib {bare_s:.2f}; the plain pass {pass_s:.2f} s"
        figure = f"load {tests} tests of {sessions} sessions of {rounds} rounds: over a plain pass"
        rows.append(Row(figure, load_s / pass_s, "x", most=most, beside=beside))
    return rows


def main() -> int:
    """Prints a row a shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="loads a shape, the best counts (default: %(default)s)")
    return show(rows(parser.parse_args().times))


if __name__ == "__main__":
    sys.exit(main())
