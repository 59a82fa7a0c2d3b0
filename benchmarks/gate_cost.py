"""What a gate costs besides its rounds, where the servers run already: time and memory of a whole pytest run.

    python -m benchmarks.gate_cost

Two scripted servers are started first; then `pytest` with one gated test attaches to them. The fixed cost is the wall
time of that process minus the time from the first request of the first round to the end of the last one: pytest's own
start, imports, loading, the warm-up's two short answers, calibration, manifest, verdicts and reports are in it.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import peers
from benchmarks.rows import Row, show
from pytest_llmperf.servers.processes.server_process import OwnServer

TEST = """
import pytest
from pytest_llmperf import Agent, GenerationOptions, Scenario

SHORT = GenerationOptions(num_predict=32, seed=1)
PAIR = Scenario(name="pair", agents=tuple(Agent(name=n, prompts=("tell me",), options=SHORT) for n in "ab"))

@pytest.mark.efficiency(min_pct=80)
def test_pair(dual_ollama, run_agents):
    run_agents(PAIR, on=dual_ollama)
"""
VERDICTS = (0, 1)
"""Exit codes of a run that measured: on a busy machine its rounds may be invalid, which costs the same."""

MOST_COST, MOST_MEMORY = 8.0, 2.5
"""Measured: 4.7 and 1.6 on a quiet machine, 4.8 and 1.7 on one where ten others waited for two cores. A gate that took
another second on the quiet one would be 9, one of another 50 MB would be 3."""

SCRIPT = {"ttft_ms": 20, "decode_tok_s": 1000, "jitter_pct": 0.2, "load_ms": 1}


def timed_s(path: Path) -> float:
    """From the first request of the first round to the end of the last one."""
    (record,) = json.loads(path.read_text(encoding="utf-8"))["records"]
    parts = [run for round_ in record["measurement"]["rounds"] for run in (*round_["solo"], *round_["together"])]
    ends = [request["done_ns"] for part in parts for request in part["requests"]]
    return (max(ends) - min(part["start_ns"] for part in parts)) / 1e9


def rows(repetitions: int) -> list[Row]:
    """Our gate, a pytest run of nothing, and the peers that are installed."""
    costs, memory, empty, empty_mb = [], [], [], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_gate.py").write_text(TEST)
        (folder / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        urls = []
        for name in "ab":
            arguments = ["--engine", "scripted", "--script", json.dumps(SCRIPT)]
            process = OwnServer(arguments, label=f"instance {name}")
            stack.callback(process.stop)
            urls.append(f"http://127.0.0.1:{process.port(60)}")
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        gate = [
            *pytest,
            "-p",
            "pytest_llmperf.plugin",
            "test_gate.py",
            f"--llmperf-urls={','.join(urls)}",
            "--llmperf-json=run.json",
        ]
        # neither the plugins of others nor the wait for another measurement on this machine is a cost of ours
        apart = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TMPDIR": str(folder)}
        peers.run(gate, folder, codes=VERDICTS, **apart)  # writes the bytecode
        for _ in range(repetitions):
            wall_s, peak_mb = peers.run(gate, folder, codes=VERDICTS, **apart)
            costs.append(wall_s - timed_s(folder / "run.json"))
            memory.append(peak_mb)
            wall_s, peak_mb = peers.run([*pytest, "test_nothing.py"], folder, **apart)
            empty.append(wall_s)
            empty_mb.append(peak_mb)
    cost_s, nothing_s = statistics.median(costs), statistics.median(empty)
    mb, nothing_mb = statistics.median(memory), statistics.median(empty_mb)
    return [
        Row(
            "fixed cost of a gate, servers running: over an empty pytest run",
            cost_s / nothing_s,
            "x",
            most=MOST_COST,
            beside=f"the whole process, {cost_s:.2f} s; a pytest run of one empty test without us {nothing_s:.2f} s",
        ),
        Row(
            "peak memory of a run with a gate: over an empty pytest run",
            mb / nothing_mb,
            "x",
            most=MOST_MEMORY,
            beside=f"{mb:.0f} of {nothing_mb:.0f} MB",
        ),
        *peers.rows(),
    ]


if __name__ == "__main__":
    raise SystemExit(show(rows(5)))
