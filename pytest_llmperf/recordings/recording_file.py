"""Files of recordings: the plugin's own format, and exports of OpenTelemetry traces."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.errors import UsageError
from pytest_llmperf.files.atomic_write import advice, read_bytes, write_whole
from pytest_llmperf.recordings.otel_traces import has_traces, recording_of_traces
from pytest_llmperf.recordings.recorded_requests import Recording
from pytest_llmperf.recordings.recording_lines import AGAIN, recording_of, text_of

MOST_READ_BYTES = 256 * 1024 * 1024
"""Larger files are refused."""

MOST_MB = 64.0
"""The usual size limit of a recording, MB."""

_OF_A_SESSION = re.compile(r'\s*{\s*"schema":\s*\d+,\s*"plugin_version"')


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingTarget:
    """The file to record agents to, and what to record.

    Attributes:
        file: the file of the recording; an existing file is replaced.
        redact: fields of the requests to redact, see `redaction.Redaction`.
        bodies: whether to keep the bodies of the requests; otherwise only their sizes and hashes.
        max_mb: maximum size of the file, MB; further requests are left out, and the file says so.
    """

    file: str | Path
    redact: Sequence[str] = ()
    bodies: bool = True
    max_mb: float = MOST_MB

    def __post_init__(self) -> None:
        if isinstance(self.redact, str) or not all(isinstance(field, str) and field for field in self.redact):
            raise ValueError(f"redact is {self.redact!r}, wanted a list of fields, such as metadata.user_id")
        if not isinstance(self.max_mb, int | float) or not 0 < self.max_mb < math.inf:
            raise ValueError(f"max_mb is {self.max_mb!r}, wanted a number of megabytes above 0")

    @property
    def path(self) -> Path:
        """The path of the file."""
        return Path(self.file)


def read_recording(path: Path) -> Recording:
    """Reads a recording, or an export of traces.

    Raises:
        UsageError: the file is missing, unreadable, truncated or of a newer version, or a line is wrong; the message
            names the line and the fault.
    """
    text = _text(path)
    if _OF_A_SESSION.match(text):
        raise UsageError(
            f"{path} is the JSON of a session (--llmperf-json), not a recording",
            next_step="for people, have pytest write --llmperf-html; for a record, pytest-llmperf record",
        )
    return recording_of_traces(path, text) if has_traces(text) else recording_of(path, text)


def write_recording(target: RecordingTarget, recording: Recording) -> int:
    """Writes a recording, whole or not at all.

    Returns:
        The number of requests that did not fit.

    Raises:
        UsageError: the file cannot be written, or not even its first request fits.
    """
    text, left_out = text_of(recording, most_bytes=round(target.max_mb * 1e6))
    if left_out == len(recording.requests):
        raise UsageError(
            f"the recording {target.file} cannot be written: its first request is larger than {target.max_mb:g} MB",
            next_step="raise max_mb, or record without bodies",
        )
    try:
        write_whole(target.path, text)
    except (OSError, ValueError) as error:
        helps = advice(error, "give another file") if isinstance(error, OSError) else "give another file"
        raise UsageError(f"the recording {target.file} cannot be written: {error}", next_step=helps) from error
    return left_out


def _text(path: Path) -> str:
    """The text of the file. Raises UsageError."""
    try:
        data = read_bytes(path, MOST_READ_BYTES + 1)
    except OSError as error:
        missing = "check the name, or " if isinstance(error, FileNotFoundError) else ""
        raise UsageError(
            f"the recording {path} cannot be read: {error.strerror or error}", next_step=f"{missing}{AGAIN}"
        ) from error
    if len(data) > MOST_READ_BYTES:
        raise UsageError(
            f"the recording {path} is larger than {MOST_READ_BYTES // 2**20} MiB",
            next_step="record less, or without bodies (--no-bodies)",
        )
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{path}, line {number}: it is not UTF-8 (byte {error.start} of the file)", next_step="save it as UTF-8"
        ) from error
