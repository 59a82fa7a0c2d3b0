"""`pytest-llmperf record-agents` and `show` of a recording."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.model import Settings
from pytest_llmperf.recordings.recording_file import read_recording
from pytest_llmperf.report.document import Run, as_text, document
from tests.plugin.conftest import until

QUICK = ("--backend", "simulated", "--script", "ttft_ms=1,load_ms=1,decode_tok_s=2000")

AGENT = """
import json, os, sys, time, urllib.request
url, model = os.environ["OLLAMA_HOST"], os.environ["LLMPERF_MODEL"]

def ask(text):
    messages = [{"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "options": {"num_predict": 4}, "user": "bob"}
    body["api_key"] = "hunter2hunter2"
    urllib.request.urlopen(url + "/api/chat", json.dumps(body).encode()).read()

ask("first")
ask("second")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "writer.py").write_text(AGENT)
    (tmp_path / "broken.py").write_text(AGENT + "sys.exit('no such tool')\n")
    (tmp_path / "patient.py").write_text(AGENT + "open('asked', 'w').close()\ntime.sleep(3600)\n")
    return tmp_path


def record(*words: str, script: str = "writer.py") -> int:
    return main(["record-agents", *QUICK, *words, "--", sys.executable, script])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a command is missing: wanted the agents' commands after --"),
        (["--"], "a command is missing"),
        (["--", "true", "--and"], "a command is missing"),
        (["--max-mb", "0", "--", "true"], "max_mb is 0.0, wanted a number of megabytes above 0"),
        (["--output", "writer.py/x.jsonl", "--", "true"], "no recording can be written to writer.py/x.jsonl"),
    ],
)
def test_what_cannot_be_recorded_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["record-agents", *QUICK, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "next: " in error


def test_the_help_has_the_options_of_the_servers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["record-agents", "--help"])
    shown = capsys.readouterr().out
    for words in ("COMMAND [--and COMMAND ...]", "--redact FIELD", "--no-bodies", "--max-mb", "--backend NAME"):
        assert words in shown


@pytest.mark.slow
def test_two_agents_are_recorded_and_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Agents are named after their scripts; secrets and chosen fields are redacted; an unknown field is reported."""
    words = ("-o", "team.jsonl", "--redact", "user", "--redact", "contnet")
    agents = (sys.executable, "writer.py", "--and", sys.executable, "writer.py")
    assert main(["record-agents", *QUICK, *words, "--", *agents]) == 0
    said = capsys.readouterr().out
    assert "recorded 4 requests of 2 agents in team.jsonl" in said
    assert "nothing was redacted as contnet: no request has this field; did you mean 'content'?" in said
    text = (folder / "team.jsonl").read_text()
    assert "hunter2" not in text
    assert "bob" not in text
    recording = read_recording(folder / "team.jsonl")
    assert (recording.agents, recording.redacted, recording.end) == (("writer", "writer_2"), ("user",), "complete")
    assert recording.source == "backend simulated"
    for name in recording.agents:
        first, second = recording.of(name)
        assert (first.after, second.after, first.pause_ms) == ((), (first.id,), 0)
        assert second.pause_ms > 0
        assert (first.output_tokens, first.streamed, first.path) == (4, True, "/api/chat")
    assert main(["show", "team.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert f"recording team.jsonl (sha256 {recording.short_sha256}): 4 requests of 2 agents, model simulated" in shown
    assert "redacted: user" in shown
    rows = [line.split() for line in shown.splitlines() if re.match(r"\d ", line)]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    assert {tuple(row[1:3]) for row in rows} == {("writer", "/api/chat"), ("writer_2", "/api/chat")}


def test_the_json_of_a_session_is_no_recording(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`show` says what it is, and what reads it."""
    (folder / "run.json").write_text(as_text(document(Run(records=[], settings=Settings()))))
    assert main(["show", "run.json"]) == 2
    error = capsys.readouterr().err
    assert "run.json is the JSON of a session (--llmperf-json), not a recording" in error
    assert "--llmperf-html" in error


@pytest.mark.slow
def test_without_bodies_no_text_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record("--no-bodies") == 0
    text = (folder / "recording.jsonl").read_text()
    assert "first" not in text
    first, second = read_recording(folder / "recording.jsonl").requests
    assert (first.body, first.stream, first.output_tokens) == (None, True, 4)
    assert first.body_bytes < second.body_bytes
    assert first.body_sha256 != second.body_sha256
    assert main(["show", "recording.jsonl"]) == 0
    assert "2 requests without body, replayed with filler" in capsys.readouterr().out


@pytest.mark.slow
def test_the_size_limit_keeps_what_fits_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record() == 0
    whole = (folder / "recording.jsonl").stat().st_size
    assert record("--max-mb", str((whole - 20) / 1e6)) == 0
    assert "the recording is not complete: with 1 more request it would be larger than" in capsys.readouterr().out
    recording = read_recording(folder / "recording.jsonl")
    assert (len(recording.requests), recording.end) == (1, "size limit")
    before = (folder / "recording.jsonl").read_bytes()
    assert record("--max-mb", "0.0001") == 2
    assert "its first request is larger than 0.0001 MB" in capsys.readouterr().err
    assert (folder / "recording.jsonl").read_bytes() == before


@pytest.mark.slow
def test_an_agent_that_fails_leaves_what_it_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record(script="broken.py") == 1
    printed = capsys.readouterr()
    assert "recorded 2 requests of 1 agent in recording.jsonl" in printed.out
    assert "no such tool" in printed.err
    assert read_recording(folder / "recording.jsonl").end == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "cancelled job"])
def test_an_interruption_leaves_what_was_asked(folder: Path, number: signal.Signals) -> None:
    words = ["record-agents", *QUICK, "--", sys.executable, "patient.py"]
    program = [sys.executable, "-c", "import sys; from pytest_llmperf.cli import main; sys.exit(main(sys.argv[1:]))"]
    process = subprocess.Popen([*program, *words], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    until(lambda: (folder / "asked").exists() or process.poll() is not None, lambda: "the agent has not asked")
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "recorded 2 requests of 1 agent in recording.jsonl" in printed
    assert read_recording(folder / "recording.jsonl").end == "interrupted"


@pytest.mark.slow
def test_what_is_not_recorded_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A request to an endpoint that nobody knows; control requests are of no interest."""
    strange = "\nimport contextlib\nfor path in ('/api/tags', '/v1/rerank'):\n    with contextlib.suppress(OSError):\n"
    (folder / "strange.py").write_text(AGENT + strange + "        urllib.request.urlopen(url + path, b'{}')\n")
    assert record(script="strange.py") == 0
    printed = capsys.readouterr().out
    assert "recorded 2 requests of 1 agent" in printed
    assert "not recorded, because the endpoint is unknown: POST /v1/rerank" in printed
    assert "tags" not in printed
