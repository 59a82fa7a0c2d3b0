"""The format of a recording: JSON Lines. A header, a line for each request, and a line that says how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import cattrs

from pytest_llmperf.errors import UsageError, did_you_mean
from pytest_llmperf.files.atomic_write import conflict_lines
from pytest_llmperf.files.toml_values import faults_of, strict_converter
from pytest_llmperf.recordings.recorded_requests import ENDS, RecordedRequest, Recording, agents_fault, place_fault

VERSION = 1
"""Version of the format; rises if an older reader would misread a newer file."""

KIND = "llmperf_recording"
"""The key of the header that marks a recording, and has its version."""

AGAIN = "record it again: pytest-llmperf record-agents, or run_agents(..., record=...)"
_SEE = "docs/recordings.md describes the lines"
_END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """The first line."""

    llmperf_recording: int
    agents: tuple[str, ...]
    model: str = ""
    recorded_at: str = ""
    source: str = ""
    redacted: tuple[str, ...] = ()


def recording_of(path: Path, text: str) -> Recording:
    """The recording that a text of this format is.

    Args:
        path: the path of the file, for errors.
        text: the text of the file.

    Raises:
        UsageError: it is torn, of a newer version, or a line is wrong; says which and why.
    """
    if conflicts := conflict_lines(text):
        raise UsageError(
            f"{path}, line {conflicts[0]}: a merge conflict of git is not resolved",
            next_step="resolve it, or record again",
        )
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise UsageError(f"{path} is empty, wanted a recording", next_step=AGAIN)
    return _Reader(path, torn=not text.endswith("\n")).recording(lines)


def text_of(recording: Recording, *, most_bytes: int) -> tuple[str, int]:
    """The text of a file for a recording, at most this large, and the number of requests that had no place in it."""
    ends = {end: _line({_END: end}) for end in ENDS}
    lines, kept, end = list[str](), dict[str, None](), recording.end
    size = _size(_header_line(recording, recording.agents)) + max(map(_size, ends.values()))
    for request in recording.requests:
        line = _line(_set_fields(request))
        if (size := size + _size(line)) > most_bytes:
            end = "size limit"
            break
        lines.append(line)
        kept[request.agent] = None
    agents = tuple(name for name in recording.agents if name in kept)
    return "".join((_header_line(recording, agents), *lines, ends[end])), len(recording.requests) - len(lines)


def parsed_line(line: str) -> dict[str, Any]:
    """The object of a line of JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(line, parse_constant=_no_number)
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value


class _Reader:
    """Reads the lines of one file.

    Args:
        path: for errors.
        torn: whether the last line does not end.
    """

    def __init__(self, path: Path, *, torn: bool) -> None:
        self._path = path
        self._torn = torn

    def recording(self, lines: list[tuple[int, str]]) -> Recording:
        """All lines, as a recording. Raises UsageError."""
        head = self._header(*lines[0])
        requests: dict[int, RecordedRequest] = {}
        end, last = "", lines[-1][0]
        for number, line in lines[1:]:
            if end:
                raise self._fault(number, "there is a line after the one that ends the recording")
            value = self._object(number, line, last=last)
            if _END in value:
                end = self._end(number, value)
                continue
            request: RecordedRequest = self._structured(number, value, RecordedRequest)
            if fault := place_fault(request, head.agents, requests):
                raise self._fault(number, fault)
            requests[request.id] = request
        if not end:
            raise self._torn_after(last, "the line that ends the recording is missing")
        if silent := set(head.agents) - {request.agent for request in requests.values()}:
            raise self._fault(lines[0][0], f"agent {min(silent)!r} has no request", "take its name out of agents")
        return Recording(
            agents=head.agents,
            requests=tuple(requests.values()),
            model=head.model,
            recorded_at=head.recorded_at,
            source=head.source,
            redacted=head.redacted,
            end=end,
        )

    def _header(self, number: int, line: str) -> _Header:
        try:
            value = parsed_line(line)
        except ValueError as error:
            raise self._no_recording(number, str(error)) from error
        version = value.get(KIND)
        if version is None:
            raise self._no_recording(number, f"it has no {KIND}")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise self._fault(number, f"{KIND} is {version!r}, wanted the version of the format, 1 to {VERSION}")
        if version > VERSION:
            raise UsageError(
                f"{self._path}, line {number}: the recording has version {version}; this release reads up to {VERSION}",
                next_step="pip install --upgrade pytest-llmperf, or record it again with this release",
            )
        head: _Header = self._structured(number, value, _Header)
        if fault := agents_fault(head.agents):
            raise self._fault(number, fault)
        return head

    def _object(self, number: int, line: str, *, last: int) -> dict[str, Any]:
        try:
            return parsed_line(line)
        except ValueError as error:
            if self._torn and number == last > 1:
                raise self._torn_after(number, "the line is cut off") from error
            raise self._fault(number, f"it is not JSON that can be read ({error})") from error

    def _structured(self, number: int, value: dict[str, Any], kind: Any) -> Any:
        try:
            return _converter().structure(value, kind)
        except Exception as error:
            raise self._fault(number, "; ".join(fault.removeprefix(": ") for fault in faults_of(error))) from error

    def _end(self, number: int, value: Mapping[str, Any]) -> str:
        if more := sorted(set(value) - {_END}):
            raise self._fault(number, f"{more[0]}: unknown key, wanted only {_END}")
        end = value[_END]
        if not isinstance(end, str) or end not in ENDS:
            raise self._fault(number, f"{_END} is {end!r}, wanted one of {', '.join(ENDS)}{did_you_mean(end, ENDS)}")
        return str(end)

    def _fault(self, number: int, fault: str, next_step: str = f"correct the line; {_SEE}") -> UsageError:
        return UsageError(f"{self._path}, line {number}: {fault}", next_step=next_step)

    def _no_recording(self, number: int, why: str) -> UsageError:
        return UsageError(f"{self._path}, line {number}: the file is not a recording: {why}", next_step=AGAIN)

    def _torn_after(self, number: int, fault: str) -> UsageError:
        return UsageError(
            f"{self._path}, line {number}: {fault}: the file is torn",
            next_step=f'{AGAIN}; or, if all that you need is there, end it with the line {{"{_END}": "interrupted"}}',
        )


@cache
def _converter() -> cattrs.Converter:
    """Made once: it compiles a function for each kind."""
    return strict_converter()


def _header_line(recording: Recording, agents: tuple[str, ...]) -> str:
    """The first line, for these agents."""
    head = _Header(
        llmperf_recording=VERSION,
        agents=agents,
        model=recording.model,
        recorded_at=recording.recorded_at,
        source=recording.source,
        redacted=recording.redacted,
    )
    return _line(_set_fields(head))


def _set_fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults."""
    given = {field.name: (getattr(value, field.name), field.default) for field in fields(value)}
    return {name: each for name, (each, default) in given.items() if default is MISSING or each != default}


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _size(line: str) -> int:
    return len(line.encode("utf-8", "backslashreplace"))


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
