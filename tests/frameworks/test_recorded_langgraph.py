"""Two LangGraph agents, recorded and replayed: equal work every time, and a slower server told from other work."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.recordings.recorded_requests import Recording
from pytest_llmperf.recordings.recording_file import read_recording
from tests.frameworks.catalogue import AGENTS, LANGGRAPH

pytestmark = pytest.mark.frameworks

ROOT = Path(__file__).parents[2]
AGENT = (str(LANGGRAPH.folder / "bin" / "python"), str(AGENTS / "langgraph_revisions.py"))
RECORD = (str(Path(sys.executable).with_name("pytest-llmperf")), "record-agents")
REPLAY = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--llmperf-calibrate=off")
EMBEDDED = ("--llmperf-backend=embedded", "-p", "tests.keeps_up")
SIMULATED = ("--llmperf-backend=simulated", "-p", "tests.keeps_up", "-p", "tests.scripted_run")
QUICK, SLOWER = (
    f"--llmperf-script=load_ms=1,jitter_pct=0.2,prefill_tok_s=1e6,{rates}"
    for rates in ("decode_tok_s=267,ttft_ms=30", "decode_tok_s=240,ttft_ms=33")
)
TEST = """
from pytest_llmperf import Scenario

def test_team(dual_ollama, run_agents):
    run_agents(Scenario.from_recording("team.jsonl", max_pause_s=0), on=dual_ollama)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a test that replays the recording."""
    if LANGGRAPH.problem:
        pytest.skip(f"LangGraph: {LANGGRAPH.problem}")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_team.py").write_text(TEST)
    return tmp_path


def run(project: Path, *command: str, fails: bool = False) -> str:
    """What a command prints that is run in the project; asserts its exit code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "LLMPERF_"))}
    done = subprocess.run(
        command,
        cwd=project,
        env=environment | {"PYTHONPATH": str(ROOT), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == fails, done.stdout + done.stderr
    return done.stdout


def record(project: Path, *revisions: int) -> Recording:
    """Records a run of two agents on the embedded engine, each with its number of revisions."""
    first, second = ((*AGENT, text, str(times)) for text, times in zip(("A river.", "A town."), revisions, strict=True))
    command = (*RECORD, "--backend=embedded", "-o", "team.jsonl", "--", *first, "--and", *second)
    run(project, *command)
    return read_recording(project / "team.jsonl")


def replay(project: Path, *options: str, fails: bool = False) -> str:
    return run(project, *REPLAY, *options, fails=fails)


def counts(requests: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(request["prompt_eval_count"], request["eval_count"]) for request in requests]


def test_ten_replays_equal_the_recording_and_one_more_request_is_other_work(project: Path) -> None:
    """On the embedded engine: the requests and token counts of each round are the recorded ones."""
    recording = record(project, 1, 2)
    assert [len(recording.of(agent)) for agent in recording.agents] == [2, 3]
    recorded = [
        [(request.input_tokens, request.output_tokens) for request in recording.of(agent)] for agent in recording.agents
    ]
    assert all(tokens > 0 for own in recorded for pair in own for tokens in pair)
    ten = ("--llmperf-rounds=10", "--llmperf-max-rounds=10", "--llmperf-json=run.json", "--llmperf-save=mine")
    replay(project, *EMBEDDED, *ten)
    (measured,) = json.loads((project / "run.json").read_text(encoding="utf-8"))["records"]
    rounds = measured["measurement"]["rounds"]
    assert len(rounds) == 10
    for round_ in rounds:
        for part in ("solo", "together"):
            assert [counts(run["requests"]) for run in round_[part]] == recorded
    changed = record(project, 1, 3)
    printed = replay(project, *EMBEDDED, "--llmperf-rounds=2", "--llmperf-compare=mine", fails=True)
    first, second = changed.agents
    assert f"recording {changed.short_sha256}: {first} 2 requests, {second} 4 requests" in printed
    assert f"{second} 3 requests: the recording was changed, so this is other work, not a slower server" in printed


def test_a_server_that_is_10_percent_slower_is_found(project: Path) -> None:
    """On simulated servers in scripted time: how busy this machine is changes nothing."""
    record(project, 1, 2)
    for _ in range(4):
        replay(project, *SIMULATED, QUICK, "--llmperf-save=mine")
    replay(project, *SIMULATED, QUICK, "--llmperf-compare=mine")
    assert "is worse than the baseline's" in replay(project, *SIMULATED, SLOWER, "--llmperf-compare=mine", fails=True)
