"""An agent's workflow over files (TR109): does the single-inference optimum transfer, and do gains replicate?"""

import csv
import json
import random
import sys
import tomllib
from pathlib import Path

import pytest

from pytest_llmperf import ExternalAgent, Scenario

pytestmark = pytest.mark.workflow

HERE = Path(__file__).parent
OWN = {"num_ctx": 1024, "num_predict": 32, "seed": 42}


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """101 files to read: 60 CSV, 30 JSON, 11 Markdown; always the same."""
    folder, chance = tmp_path_factory.mktemp("readings"), random.Random(109)
    for number in range(60):
        with (folder / f"run{number}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["request", "tok_s", "ttft_ms"])
            writer.writerows([i, round(chance.gauss(99, 2), 2), round(chance.gauss(1437, 75))] for i in range(40))
    for number in range(30):
        content = {"name": f"config{number}", "options": {"num_ctx": chance.choice([256, 512, 1024, 2048])}}
        (folder / f"config{number}.json").write_text(json.dumps(content, indent=1), "utf-8")
    for number in range(11):
        (folder / f"notes{number}.md").write_text("# Notes\n\n" + "it was slower than before. " * 200, "utf-8")
    return folder


@pytest.fixture
def workflow(files, tmp_path, llmperf):
    """`workflow(cell)`: one agent that works through the files with the options of a cell."""
    small = llmperf.baseline.workload  # a small machine has its own
    base = {**OWN, **(small.overrides() if small else {})}
    if llmperf.backend.kind == "simulated":
        base["num_predict"] = 16  # a script decodes the first 16 tokens like any others

    def make(cell):
        options = {key: value for key, value in cell.items() if key in ("num_gpu", "num_ctx", "temperature")}
        command = [sys.executable, str(HERE / "workflow_agent.py"), str(files), "--report", str(tmp_path / "report.md")]
        tuned = cell.get("tuned", "both")
        for call in ("analysis", "writing"):
            asked = {**base, **(options if tuned == "both" or (tuned, call) == ("one", "writing") else {})}
            command += [f"--{call}", json.dumps(asked)]
        if cell.get("start") == "cold":
            command.append("--cold")
        return Scenario(name="workflow", agents=(ExternalAgent(name="analyst", run=tuple(command)),))

    return make


def test_phase_1_does_the_single_inference_optimum_transfer(run_matrix, workflow):
    """TR108's context for one of two calls, the other as it was: each call finds the model loaded for the other."""
    results = run_matrix("matrices/workflow_1_transfer.toml", agents=workflow)
    assert results.mean("load_ms", tuned="one") > 2 * results.mean("load_ms", tuned="none")
    assert results.mean("ttft_ms", tuned="one") > results.mean("ttft_ms", tuned="none")
    assert {row.requests for row in results.rows} == {2}


def test_phases_2_and_3_sweep_and_replicate(run_matrix, workflow):
    """The best single run of a sweep, and whether its lead is there again in five."""
    sweep = run_matrix("matrices/workflow_2_sweep.toml", agents=workflow)
    warm = sweep.select(start="warm")
    best = max(warm, key=lambda row: row.throughput_tok_s)
    tables = tomllib.loads((HERE / "matrices" / "workflow_3_replicate.toml").read_text("utf-8"))
    tables["cell"] = [{"config": "default"}, {"config": "best", **best.cell}]
    replicated = run_matrix(tables, agents=workflow, name="workflow_3_replicate")
    assert len(replicated.select(config="best")) >= 3
    assert replicated.finding("not_replicated").value is not None
