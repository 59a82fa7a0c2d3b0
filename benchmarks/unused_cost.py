"""What the plugin costs a pytest run that does not use it: both sides in one run, alternating; prints the ratio.

    python benchmarks/unused_cost.py [--tests 5000] [--pairs 15] [--limit 1.02]

Compares `pytest --collect-only` over empty tests with the plugin loaded and with `-p no:llmperf`. The machine may be
noisy: pairs alternate, and the ratio is that of the medians of user plus system time, which waiting does not touch.
Exits 1 when the ratio exceeds the limit.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def cpu_seconds(folder: Path, *options: str) -> float:
    """CPU time of one collection, children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *options, str(folder)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Runs the pairs and prints the row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=int, default=5000)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--limit", type=float, default=1.02)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n")
        for part in range(10):
            body = "".join(f"def test_{index}():\n    pass\n\n" for index in range(arguments.tests // 10))
            (folder / f"test_part{part}.py").write_text(body)
        cpu_seconds(folder)  # writes the bytecode
        loaded, unloaded = [], []
        for pair in range(arguments.pairs):
            sides = [(loaded, ()), (unloaded, ("-p", "no:llmperf"))]
            for times, options in sides if pair % 2 else reversed(sides):
                times.append(cpu_seconds(folder, *options))
    ratio = statistics.median(loaded) / statistics.median(unloaded)
    holds = ratio <= arguments.limit
    print(
        f"collect-only, {arguments.tests} empty tests, {arguments.pairs} pairs: loaded / unloaded = {ratio:.4f} "
        f"(limit {arguments.limit}, {'holds' if holds else 'EXCEEDED'}); medians {statistics.median(loaded):.3f} s "
        f"and {statistics.median(unloaded):.3f} s of CPU"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
