"""How long `baselines.load` takes for files of 100,000 rounds of every metric, as `--llmperf-save` writes them.

Prints a row a shape, best of N; exit code 1 where one is above its limit. Run it on a quiet machine.
"""

import argparse
import random
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from pytest_llmperf.judge import baselines
from pytest_llmperf.judge.catalogue import CONTINUOUS
from pytest_llmperf.model import KEYS, SCHEMA, Baseline, Stored, StoredSession

SHAPES = (
    # tests, sessions of each, rounds of each, limit in seconds (None: shown only)
    (1, 10, 10_000, 1.0),
    (10, 100, 100, 1.0),
    (50, 100, 20, None),
    (100, 200, 5, None),
)


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
            session=tuple(session(one) for one in range(sessions)),
        )
        for number in range(tests)
    )
    return Baseline(schema=SCHEMA, name="huge", stored=stored)


def best_s(work: Callable[[], object], times: int) -> float:
    """The shortest of several times."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> int:
    """Measures each shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="loads a shape, the best counts (default: %(default)s)")
    times = parser.parse_args().times
    too_slow = 0
    print("tests  sessions  rounds    MB  load s  bare tomllib s  limit s")
    for tests, sessions, rounds, limit_s in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            path, baseline = Path(folder) / "huge.toml", baseline_of(tests, sessions, rounds)
            baselines.edit(path, lambda _, made=baseline: made, new=baseline)
            load_s = best_s(lambda file=path: baselines.load(file), times)
            bare_s = best_s(lambda file=path: tomllib.loads(file.read_text("utf-8")), times)
            size = path.stat().st_size / 1e6
        slow = limit_s is not None and load_s > limit_s
        too_slow += slow
        limit = "-" if limit_s is None else f"{limit_s:g}"
        print(
            f"{tests:5}  {sessions:8}  {rounds:6}  {size:4.1f}  {load_s:6.2f}  {bare_s:14.2f}  {limit:>7}"
            f"{'  TOO SLOW' if slow else ''}"
        )
    return 1 if too_slow else 0


if __name__ == "__main__":
    sys.exit(main())
