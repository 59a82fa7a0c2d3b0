"""A second decoder, plain and slow: every byte knows its piece. Answers of the real one must equal its answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_HEAD = re.compile(rb"\n\r?\n")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Malformed(Exception):
    """No answer can be had from these bytes."""


@dataclass(frozen=True)
class Answer:
    """What a decoder finds; arrivals are indices of pieces."""

    text: str
    count: int
    prompt_count: int
    reason: str
    arrivals: tuple[int, ...]
    done: int
    merged: int
    first_merged: bool


def owners_of(pieces: list[bytes]) -> list[int]:
    """For each byte the index of its piece."""
    return [index for index, piece in enumerate(pieces) for _ in piece]


def answer_of(owners: list[int], ends: list[int], done: int, **values: Any) -> Answer:
    """The answer whose content chunks end before these offsets of a body whose bytes have these owners."""
    last = [owners[end - 1] for end in ends]
    shared = [end < len(owners) and owners[end] == owners[end - 1] for end in ends]
    return Answer(
        arrivals=tuple(last),
        done=owners[done - 1],
        merged=sum(shared),
        first_merged=bool(shared) and shared[0],
        **values,
    )


def reference(pieces: list[bytes]) -> Answer:
    """Decodes one answer.

    Raises:
        Malformed: it cannot be.
    """
    raw, owners = b"".join(pieces), owners_of(pieces)
    kind, ranges, cut = _unframed(raw)
    body = b"".join(raw[start:end] for start, end in ranges)
    body_owners = [owner for start, end in ranges for owner in owners[start:end]]
    ends, texts, counts, done, reason = [], [], {}, 0, ""
    first = None
    for end, data in _units(kind, body, cut):
        if done:
            raise Malformed
        if kind == "text/event-stream" and data.strip() == b"[DONE]":
            done = end
            continue
        chunk = _object(data)
        first = first or ("v1" if kind == "text/event-stream" or "choices" in chunk else "ollama")
        text, content, finished, why, found = _v1(chunk) if first == "v1" else _ollama(chunk)
        if content:
            ends.append(end)
            texts.append(text)
        counts.update(found)
        reason = why or reason
        if finished or (first == "v1" and kind != "text/event-stream"):
            done = end
    if not done:
        raise Malformed
    return answer_of(
        body_owners,
        ends,
        done,
        text=whole_text("".join(texts)),
        count=counts.get("count", 0),
        prompt_count=counts.get("prompt", 0),
        reason=whole_text(reason),
    )


def whole_text(text: str) -> str:
    """Halves of characters joined, lonely halves replaced."""
    joined = re.sub("[\ud800-\udbff][\udc00-\udfff]", _pair, text)
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


def _pair(found: re.Match[str]) -> str:
    high, low = (ord(half) for half in found[0])
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _unframed(raw: bytes) -> tuple[str, list[tuple[int, int]], bool]:
    """Media type, ranges of the body in the raw bytes, and whether the connection was cut."""
    at, status = 0, 100
    while status < 200:
        found = _HEAD.search(raw, at)
        if not found:
            raise Malformed
        head, at = raw[at : found.end()], found.end()
        line, _, rest = head.replace(b"\r\n", b"\n").partition(b"\n")
        match = re.match(rb"HTTP/\d\.\d ([0-9]{3})( |$)", line)
        if not match:
            raise Malformed
        status = int(match[1])
        if status == 101:
            raise Malformed
    if status != 200:
        raise Malformed
    unfolded = re.sub(rb"\n[ \t]+", b" ", rest)
    pairs = [one.partition(b":") for one in unfolded.split(b"\n") if one]
    headers = {name.strip().lower(): value.strip().lower().decode("latin-1") for name, _, value in pairs}
    if headers.get(b"content-encoding", "identity") != "identity":
        raise Malformed
    kind = headers.get(b"content-type", "").split(";")[0].strip()
    if headers.get(b"transfer-encoding") == "chunked":
        return kind, *_chunks(raw, at)
    if b"content-length" in headers:
        length = int(headers[b"content-length"].split(",")[0])
        if len(raw) > at + length:
            raise Malformed
        return kind, [(at, min(len(raw), at + length))], len(raw) < at + length
    return kind, [(at, len(raw))], False


def _chunks(raw: bytes, at: int) -> tuple[list[tuple[int, int]], bool]:
    """Ranges of the chunks' data, and whether the end is missing."""
    ranges = []
    while True:
        end = raw.find(b"\r\n", at)
        if end < 0:
            return ranges, True
        digits = re.match(rb"[0-9A-Fa-f]{1,20}", raw[at:end])
        if not digits:
            raise Malformed
        size, at = int(digits[0], 16), end + 2
        if size == 0:
            break
        ranges.append((at, min(at + size, len(raw))))
        at += size
        footer = raw[at : at + 2]
        if len(footer) < 2 and b"\r\n".startswith(footer):
            return ranges, True
        if footer != b"\r\n":
            raise Malformed
        at += 2
    if raw[at : at + 1] == b"\n":
        at += 1
    elif raw[at : at + 2] == b"\r\n":
        at += 2
    else:
        found = _HEAD.search(raw, at)
        if not found:
            return ranges, True
        at = found.end()
    if at < len(raw):
        raise Malformed
    return ranges, False


def _units(kind: str, body: bytes, cut: bool) -> list[tuple[int, bytes]]:
    """Lines or events, each with the offset behind it."""
    if kind == "application/json":
        return [] if cut else [(len(body), body)]
    if kind != "text/event-stream":
        found, start = [], 0
        for match in re.finditer(rb"\n", body):
            found.append((match.end(), body[start : match.start()]))
            start = match.end()
        if not cut:
            found.append((len(body), body[start:]))
        return [one for one in found if one[1].strip()]
    return _events(body, cut)


def _events(body: bytes, cut: bool) -> list[tuple[int, bytes]]:
    """The events of a stream."""
    lines, start = [], 0
    for match in _LINE_END.finditer(body):
        lines.append((match.end(), body[start : match.start()]))
        start = match.end()
    if not cut:
        lines += [(len(body), body[start:]), (len(body), b"")]
    found, held = [], []
    for number, (end, text) in enumerate(lines):
        line = text[3:] if number == 0 and text.startswith(b"\xef\xbb\xbf") else text
        if line == b"":
            if [one for one in held if one]:
                found.append((end, b"\n".join(held)))
            held = []
        elif line == b"data":
            held.append(b"")
        elif line.startswith(b"data: "):
            held.append(line[6:])
        elif line.startswith(b"data:"):
            held.append(line[5:])
        elif not re.match(rb"(event|id|retry|)(:|$)", line):
            raise Malformed
    return found


def _object(data: bytes) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        chunk = json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise Malformed from None
    if not isinstance(chunk, dict) or chunk.get("error") is not None:
        raise Malformed
    return chunk


def _text(holder: Any, name: str) -> str:
    value = holder.get(name)
    if value is not None and not isinstance(value, str):
        raise Malformed
    return value or ""


def _count(holder: Any, name: str) -> int:
    value = holder.get(name)
    if value is not None and (isinstance(value, bool | float | str | list | dict) or not 0 <= value < 2**63):
        raise Malformed
    return value or 0


def _ollama(chunk: dict[str, Any]) -> tuple[str, bool, bool, str, dict[str, int]]:
    said = chunk.get("message", chunk)
    if not isinstance(said, dict):
        raise Malformed
    text = _text(said, "thinking") + _text(said, "response") + _text(said, "content")
    content = bool(text) or bool(said.get("tool_calls"))
    if chunk.get("done") is not True:
        return text, content, False, "", {}
    for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
        _count(chunk, name)
    counts = {"count": _count(chunk, "eval_count"), "prompt": _count(chunk, "prompt_eval_count")}
    return text, content, True, _text(chunk, "done_reason"), counts


def _v1(chunk: dict[str, Any]) -> tuple[str, bool, bool, str, dict[str, int]]:
    choices, usage = chunk.get("choices") or [], chunk.get("usage") or {}
    if not isinstance(choices, list) or not isinstance(usage, dict):
        raise Malformed
    text, content, reason = "", False, ""
    for choice in choices:
        if not isinstance(choice, dict):
            raise Malformed
        said = choice.get("delta") or choice.get("message") or choice
        if not isinstance(said, dict):
            raise Malformed
        text += _text(said, "reasoning_content") or _text(said, "reasoning")
        text += _text(said, "content") + _text(said, "text") + _text(said, "refusal")
        content = content or bool(text or said.get("tool_calls") or said.get("function_call"))
        reason = _text(choice, "finish_reason") or reason
    counts = {"count": _count(usage, "completion_tokens"), "prompt": _count(usage, "prompt_tokens")} if usage else {}
    return text, content, False, reason, counts
