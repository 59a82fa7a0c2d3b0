"""docs/recordings.md: its example is recorded and replayed, and the file that it shows can be read."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.recordings.recorded_requests import ENDS, RecordedRequest
from pytest_llmperf.recordings.recording_lines import recording_of

PAGE = (Path(__file__).parents[2] / "docs" / "recordings.md").read_text(encoding="utf-8")

AGENT = """
import json, os, sys, time, urllib.request
url, model = os.environ["OLLAMA_HOST"], os.environ["LLMPERF_MODEL"]
for turn in range(int(sys.argv[1])):
    body = {"model": model, "messages": [{"role": "user", "content": "and?"}], "options": {"num_predict": 4}}
    urllib.request.urlopen(url + "/api/chat", json.dumps(body).encode()).read()
"""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert set(re.findall(r"^```(\w+)$", PAGE, re.MULTILINE)) == {"sh", "python", "jsonl", "text"}


def test_the_shown_file_is_a_recording() -> None:
    (shown,) = blocks("jsonl")
    recording = recording_of(Path("team.jsonl"), shown)
    assert [(request.id, request.agent) for request in recording.requests] == [
        (1, "writer"),
        (2, "critic"),
        (3, "writer"),
    ]


def test_the_table_has_every_field() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \| (request|header|last line) \|", PAGE, re.MULTILINE)
    documented = {name for names, _ in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(RecordedRequest.__dataclass_fields__) <= documented
    assert {"llmperf_recording", "agents", "model", "recorded_at", "source", "redacted", "end"} <= documented
    assert all(f"`{end}`" in PAGE for end in ENDS)


@pytest.mark.slow
def test_the_example_records_and_replays(pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands as printed, on the scripted server; then the test file, which asserts what was recorded."""
    for name, turns in (("writer", 2), ("critic", 1)):
        (pytester.path / f"{name}.py").write_text(AGENT.replace("int(sys.argv[1])", str(turns)))
    (commands,) = blocks("sh")
    for line in commands.splitlines():
        program, command, *words = shlex.split(line)
        assert program == "pytest-llmperf"
        servers = ["--backend", "simulated", "--script", "ttft_ms=1,load_ms=1,decode_tok_s=2000"]
        words = [sys.executable if word == "python" else word for word in words]
        assert main([command, *(servers if command == "record-agents" else []), *words]) == 0
    assert "writer: 2 requests" in capsys.readouterr().out
    (code,) = blocks("python")
    pytester.makepyfile(code)
    options = ("--llmperf-backend=simulated", "--llmperf-rounds=2", "--llmperf-max-rounds=2", "--llmperf-calibrate=off")
    pytester.runpytest_inprocess("-p", "no:cacheprovider", *options).assert_outcomes(passed=1)
