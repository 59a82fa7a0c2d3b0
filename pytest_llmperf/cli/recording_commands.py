"""`record-agents`, and `show FILE` for a recording."""

from __future__ import annotations

import json
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_llmperf.cli.recording_arguments import servers_in
from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import Settings, TopologyKind, scenario_of
from pytest_llmperf.model.texts import counted
from pytest_llmperf.recordings.recorded_requests import ENDS, RecordedRequest, Recording
from pytest_llmperf.recordings.recording_file import RecordingTarget, read_recording
from pytest_llmperf.report.wording.baseline_text import aligned

SUFFIXES = (".jsonl", ".json")
"""Suffixes of files that may be recordings or exported traces."""

_HEAD = ["id", "agent", "endpoint", "after", "pause ms", "streamed", "tokens in", "out", "e2e ms", "ended by", "bytes"]


AND = "--and"
"""Between the commands of two agents."""


def record_agents(given: Namespace) -> int:
    """Runs agents once and records what they ask."""
    from pytest_llmperf.session.session import Session  # noqa: PLC0415 - takes time to import, `show` has no use for it

    try:
        scenario = scenario_of(_commands(given.agent_commands), name=Path(given.output).stem or "recording")
        target = RecordingTarget(file=given.output, redact=given.redact, bodies=given.bodies, max_mb=given.max_mb)
    except ValueError as error:
        raise UsageError(str(error), next_step=_USAGE) from error
    kind = TopologyKind.SINGLE_PARALLEL if len(scenario.agents) > 1 else TopologyKind.SINGLE
    try:
        with _ended_like_ctrl_c(), Session(Settings(**servers_in(given)), root=Path.cwd()) as session:
            recorded = session.record(scenario, kind, target)
    except KeyboardInterrupt:
        print("interrupted before an agent had asked for anything: nothing was recorded")
        return 2
    print("\n".join(recorded.notes))
    if recorded.failure is not None:
        print(f"{type(recorded.failure).__name__}: {recorded.failure}", file=sys.stderr)
        return 1
    return 2 if recorded.end == "interrupted" else 0


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Inside, SIGTERM, by which CI cancels a job, is a KeyboardInterrupt."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


_USAGE = "pytest-llmperf record-agents -- COMMAND --and COMMAND"


def _commands(words: list[str]) -> list[list[str]]:
    """The words of each agent's command. Raises UsageError."""
    commands: list[list[str]] = [[]]
    for word in words:
        if word == AND:
            commands.append([])
        else:
            commands[-1].append(word)
    if not all(commands):
        raise UsageError("a command is missing: wanted the agents' commands after --", next_step=_USAGE)
    return commands


def print_recording(name: str) -> int:
    """Prints a recording as a table."""
    path = Path(name)
    recording = read_recording(path)
    print("\n".join(described(path, recording)))
    return 0


def described(path: Path, recording: Recording) -> list[str]:
    """The lines that describe a recording."""
    of_model = f", model {recording.model}" if recording.model else ""
    at = f", recorded {recording.recorded_at}" if recording.recorded_at else ""
    source = f", from {recording.source}" if recording.source else ""
    count = counted(len(recording.requests), "request")
    lines = [
        f"recording {path.name} (sha256 {recording.short_sha256}): {count} of "
        f"{counted(len(recording.agents), 'agent')}{of_model}{at}{source}"
    ]
    if recording.end != "complete":
        lines.append(f"not complete: {ENDS[recording.end]}")
    if recording.redacted:
        lines.append(f"redacted: {', '.join(recording.redacted)}")
    if without := sum(request.body is None for request in recording.requests):
        lines.append(f"{counted(without, 'request')} without body, replayed with filler of the same number of tokens")
    rows = [_HEAD, *map(_row, recording.requests)]
    lines += ["", *aligned(rows, left=3), ""]
    for agent in recording.agents:
        requests = recording.of(agent)
        pauses_s = sum(request.pause_ms for request in requests) / 1e3
        lines.append(
            f"{agent}: {counted(len(requests), 'request')}, "
            f"{sum(request.input_tokens for request in requests)} tokens in, "
            f"{sum(request.output_tokens for request in requests)} out, pauses of {pauses_s:.2f} s"
        )
    return lines


def _row(request: RecordedRequest) -> list[str]:
    size = request.body_bytes if request.body is None else len(json.dumps(request.body).encode())
    return [
        str(request.id),
        request.agent,
        request.path,
        ", ".join(map(str, request.after)) or "-",
        f"{request.pause_ms:.1f}",
        "yes" if request.streamed else "no",
        str(request.input_tokens or "-"),
        str(request.output_tokens or "-"),
        f"{request.e2e_ms:.1f}" if request.e2e_ms else "-",
        request.done_reason or "-",
        str(size or "-"),
    ]
