"""A second decoder, plain and slow: every byte knows its piece. Answers of the real one must equal its answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_HEAD = re.compile(rb"\n\r?\n")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Malformed(Exception):
    """No answer can be had from these bytes."""


@dataclass(frozen=True)
class Answer:
    """What a decoder finds; arrivals are indices of pieces."""

    text: str
    thoughts: str
    count: int
    prompt_count: int
    reason: str
    arrivals: tuple[int, ...]
    thought_arrivals: tuple[int, ...]
    done: int
    merged: int
    first_merged: bool


def owners_of(pieces: list[bytes]) -> list[int]:
    """For each byte the index of its piece."""
    return [index for index, piece in enumerate(pieces) for _ in piece]


def answer_of(owners: list[int], ends: list[int], thought_ends: list[int], done: int, **values: Any) -> Answer:
    """The answer whose chunks of content, and of thoughts, end before these offsets of a body with these owners."""
    last = [owners[end - 1] for end in ends]
    shared = [end < len(owners) and owners[end] == owners[end - 1] for end in ends]
    return Answer(
        arrivals=tuple(last),
        thought_arrivals=tuple(owners[end - 1] for end in thought_ends),
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
    kind, ranges, cut, delimited = _unframed(raw)
    body = b"".join(raw[start:end] for start, end in ranges)
    body_owners = [owner for start, end in ranges for owner in owners[start:end]]
    ends, texts, thought_ends, thoughts, reason = [], [], [], [], ""
    counts: dict[str, int] = {}
    done = last = 0
    seen, finished = set(), set()
    first = ""
    state = _State()
    in_events, units = _units(kind, body, cut)
    for end, data, name in units:
        if data.strip() == b"[DONE]":
            done = done or (end if first in ("", "v1") else 0)
            last = end
            continue
        if name == b"error":
            raise Malformed
        named = name not in (b"", b"message")
        chunk = _named(data) if named else _object(data)
        if chunk is None:
            continue
        foreign = (named or chunk.get("type") in ("ping", "keepalive")) and not _is_chunk(chunk)
        first = first or _form(chunk, in_events=in_events, foreign=foreign)
        if not first or (foreign and not (first in ("responses", "messages") and isinstance(chunk.get("type"), str))):
            continue
        said = _READ[first](_checked(chunk), state)
        if done:
            if said.content or said.thought:
                raise Malformed
            counts = {**said.counts, **{key: value for key, value in counts.items() if value}}
            continue
        if said.content:
            ends.append(end)
            texts.append(said.text)
        if said.thought:
            thought_ends.append(end)
            thoughts.append(said.thought)
        counts.update(said.counts)
        reason = said.reason or reason
        seen |= said.seen
        finished |= said.finished
        last = end
        if said.done or (first == "v1" and not in_events and said.whole):
            done = end
    if not done and delimited and not cut and finished and not seen - finished:
        done = last
    if not done:
        raise Malformed
    return answer_of(
        body_owners,
        ends,
        thought_ends,
        done,
        text=whole_text("".join(texts)),
        thoughts=whole_text("".join(thoughts)),
        count=counts.get("count", 0),
        prompt_count=counts.get("prompt", 0),
        reason=whole_text(reason),
    )


def whole_text(text: str) -> str:
    """Halves of characters joined, lonely halves replaced."""
    joined = re.sub("[\ud800-\udbff][\udc00-\udfff]", _pair, text)
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


def _pair(match: re.Match[str]) -> str:
    high, low = (ord(half) for half in match[0])
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _unframed(raw: bytes) -> tuple[str, list[tuple[int, int]], bool, bool]:
    """Media type, ranges of the body in the raw bytes, whether it was cut, and whether HTTP says where it ends."""
    at, status = 0, 100
    while status < 200:
        end = _HEAD.search(raw, at)
        if not end:
            raise Malformed
        head, at = raw[at : end.end()], end.end()
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
    pairs = [header.partition(b":") for header in unfolded.split(b"\n") if header]
    headers = {name.strip().lower(): value.strip().lower().decode("latin-1") for name, _, value in pairs}
    if headers.get(b"content-encoding", "identity") != "identity":
        raise Malformed
    kind = headers.get(b"content-type", "").split(";")[0].strip()
    if headers.get(b"transfer-encoding") == "chunked":
        return kind, *_chunks(raw, at), True
    if b"content-length" in headers:
        length = int(headers[b"content-length"].split(",")[0])
        if len(raw) > at + length:
            raise Malformed
        return kind, [(at, min(len(raw), at + length))], len(raw) < at + length, True
    return kind, [(at, len(raw))], False, False


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
        match = _HEAD.search(raw, at)
        if not match:
            return ranges, True
        at = match.end()
    if at < len(raw):
        raise Malformed
    return ranges, False


Unit = tuple[int, bytes, bytes]
"""The offset behind a line, an event or an object; its data; the event's name."""


def _units(kind: str, body: bytes, cut: bool) -> tuple[bool, list[Unit]]:
    """Whether the body is an event stream, and its units."""
    text = body[3:] if body.startswith(b"\xef\xbb\xbf") else body
    if text.strip()[:1] not in (b"{", b"[") and (kind == "text/event-stream" or _looks_like_events(text)):
        return True, _events(body, cut)
    lines: list[Unit] = []
    start = 0
    for match in re.finditer(rb"\n", body):
        lines.append((match.end(), body[start : match.start()], b""))
        start = match.end()
    if not cut:
        lines.append((len(body), body[start:], b""))
    if lines:
        end, first, _ = lines[0]
        lines[0] = end, first.removeprefix(b"\xef\xbb\xbf"), b""
    lines = [unit for unit in lines if unit[1].strip()]
    if _is_object(text.strip().split(b"\n")[0]):
        return False, lines
    if kind == "application/json":
        return False, [] if cut else [(len(body), text, b"")]
    return False, [(len(body), text, b"")] if not cut and _is_object(text) else lines


def _looks_like_events(text: bytes) -> bool:
    """Whether the first line that is not blank is a field of an event stream."""
    first = re.split(rb"[\r\n]", text.lstrip(b"\r\n"), maxsplit=1)
    name, colon, _ = first[0].partition(b":")
    if colon:
        return name in (b"data", b"event", b"id", b"retry", b"error", b"")
    return len(first) == 2 and name in (b"data", b"event", b"id", b"retry")


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(_json(data), dict)
    except Malformed:
        return False


def _events(body: bytes, cut: bool) -> list[Unit]:
    """The events of a stream."""
    lines, start = [], 0
    for match in _LINE_END.finditer(body):
        lines.append((match.end(), body[start : match.start()]))
        start = match.end()
    if not cut:
        lines += [(len(body), body[start:]), (len(body), b"")]
    events: list[Unit] = []
    held, called = [], b""
    for number, (end, text) in enumerate(lines):
        line = text[3:] if number == 0 and text.startswith(b"\xef\xbb\xbf") else text
        if line == b"":
            if [part for part in held if part]:
                events.append((end, b"\n".join(held), called))
            held, called = [], b""
            continue
        match = re.match(rb"(data|error|event|id|retry|)(?::( ?)|$)", line)
        if not match:
            raise Malformed
        value = line[match.end() :]
        if match[1] in (b"data", b"error"):
            held.append(value)
        if match[1] == b"error":
            called = b"error"
        elif match[1] == b"event" and called != b"error":
            called = value.strip()
    return events


def _json(data: bytes) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise Malformed from None


def _named(data: bytes) -> dict[str, Any] | None:
    """The chunk in an event with a custom name; None if there is none."""
    try:
        value = _json(data)
    except Malformed:
        if data.lstrip().startswith((b"{", b"[")):
            raise
        return None
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise Malformed
        return None
    return value


def _is_chunk(value: dict[str, Any]) -> bool:
    known = [value.get(name) for name in ("choices", "usage", "done", "error")]
    return any(member is not None for member in known) or "error" in (value.get("type"), value.get("object"))


def _form(chunk: dict[str, Any], *, in_events: bool, foreign: bool) -> str:
    """The form that this first object has; empty if it says nothing."""
    kind = chunk.get("type") if isinstance(chunk.get("type"), str) else ""
    if kind.startswith("response.") or chunk.get("object") == "response":
        return "responses"
    started = kind == "message_start" and isinstance(chunk.get("message"), dict)
    whole = kind == "message" and isinstance(chunk.get("content"), list)
    if started or whole or re.fullmatch("message_(delta|stop)|content_block_(start|delta|stop)", kind):
        return "messages"
    vectors = [chunk.get("embedding"), chunk.get("embeddings"), chunk.get("data")]
    if "choices" not in chunk and any(isinstance(vector, list) for vector in vectors):
        return "embeddings"
    if foreign:
        return ""
    ollamas = "done" in chunk if in_events else True
    return "v1" if "choices" in chunk or not ollamas else "ollama"


def _object(data: bytes) -> dict[str, Any]:
    value = _json(data)
    if not isinstance(value, dict):
        raise Malformed
    return value


def _checked(chunk: dict[str, Any]) -> dict[str, Any]:
    """The chunk, which is not an error of any shape."""
    if chunk.get("error") or "error" in [chunk.get(name) for name in ("object", "type", "status")]:
        raise Malformed
    answers = {"choices", "usage", "response", "done"} & set(chunk) or isinstance(chunk.get("message"), dict)
    if not answers and any(chunk.get(name) for name in ("message", "detail", "errors", "error_message", "msg")):
        raise Malformed
    return chunk


@dataclass
class _Said:
    """What one object says."""

    text: str = ""
    thought: str = ""
    content: bool = False
    done: bool = False
    reason: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    finished: set[int] = field(default_factory=set)
    whole: bool = False


@dataclass
class _State:
    """What must be remembered between the events of one answer."""

    told: set[int] = field(default_factory=set)
    open_calls: set[int] = field(default_factory=set)
    any: bool = False
    usage: dict[str, int] = field(default_factory=dict)


def _text(holder: Any, name: str) -> str:
    value = holder.get(name)
    if value is not None and not isinstance(value, str):
        raise Malformed
    return value or ""


def _counts(holder: Any, **names: str) -> dict[str, int]:
    """The counts that are given."""
    counts = {}
    for ours, theirs in names.items():
        value = holder.get(theirs)
        if value is None:
            continue
        if isinstance(value, bool | str | list | dict) or not 0 <= value < 2**63:
            raise Malformed
        if value != value // 1 and not theirs.endswith("duration"):
            raise Malformed
        counts[ours] = round(value)
    return counts


def _ollama(chunk: dict[str, Any], _: _State) -> _Said:
    message = chunk if chunk.get("message") is None else chunk["message"]
    if not isinstance(message, dict):
        raise Malformed
    said = _Said(thought=_text(message, "thinking"), text=_text(message, "response") + _text(message, "content"))
    said.content = bool(said.text) or bool(message.get("tool_calls"))
    if chunk.get("done") is not True:
        if not (said.content or said.thought or {"response", "message", "done"} & set(chunk)):
            raise Malformed
        return said
    names = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    _counts(chunk, **dict(zip(names, names, strict=True)))
    said.counts = _counts(chunk, count="eval_count", prompt="prompt_eval_count")
    said.done, said.reason = True, _text(chunk, "done_reason")
    return said


def _v1(chunk: dict[str, Any], _: _State) -> _Said:
    if chunk.get("choices") is None and chunk.get("usage") is None:
        raise Malformed
    choices, usage = chunk.get("choices") or [], chunk.get("usage") or {}
    if not isinstance(choices, list) or not isinstance(usage, dict):
        raise Malformed
    said = _Said(counts=_counts(usage, count="completion_tokens", prompt="prompt_tokens"))
    for choice in choices:
        if not isinstance(choice, dict):
            raise Malformed
        said.whole = said.whole or bool({"message", "text"} & set(choice))
        part = choice.get("delta") or choice.get("message") or choice
        if not isinstance(part, dict):
            raise Malformed
        said.thought += _text(part, "reasoning_content") or _text(part, "reasoning")
        text = _text(part, "content") + _text(part, "text") + _text(part, "refusal")
        said.text += text
        said.content = said.content or bool(text or part.get("tool_calls") or part.get("function_call"))
        number = choice.get("index") if isinstance(choice.get("index"), int) else 0
        said.seen.add(number)
        if reason := _text(choice, "finish_reason"):
            if reason in ("error", "abort"):
                raise Malformed
            said.reason = reason
            said.finished.add(number)
    return said


def _dict(holder: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(holder.get(name), dict):
        raise Malformed
    return holder[name]


def _dicts(holder: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or [item for item in value if not isinstance(item, dict)]:
        raise Malformed
    return value


def _usage(holder: dict[str, Any]) -> dict[str, Any]:
    return {} if holder.get("usage") is None else _dict(holder, "usage")


def _number(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _parts_text(item: dict[str, Any], name: str) -> str:
    return "".join(_text(part, "text") + _text(part, "refusal") for part in _dicts(item, name))


def _output(items: list[dict[str, Any]]) -> _Said:
    """The items of an answer of /v1/responses."""
    said = _Said()
    for item in items:
        kind = _text(item, "type")
        if kind == "reasoning":
            said.thought += _parts_text(item, "summary") + _parts_text(item, "content")
        elif kind == "message":
            said.text += _parts_text(item, "content")
        said.content = said.content or kind in ("function_call", "custom_tool_call")
    said.content = said.content or bool(said.text)
    return said


def _answered(response: dict[str, Any], status: str) -> _Said:
    if status in ("failed", "cancelled", "queued", "in_progress"):
        raise Malformed
    usage, said = _usage(response), _output(_dicts(response, "output"))
    said.counts = _counts(usage, count="output_tokens", prompt="input_tokens")
    details = response.get("incomplete_details")
    why = _text(details, "reason") if isinstance(details, dict) else ""
    said.reason = why if why and status == "incomplete" else status
    said.reason = {"completed": "stop", "max_output_tokens": "length"}.get(said.reason, said.reason)
    said.done = True
    return said


def _response_delta(kind: str, chunk: dict[str, Any]) -> _Said:
    if kind.startswith("response.reasoning"):
        return _Said(thought=_text(chunk, "delta"))
    if kind in ("response.output_text.delta", "response.refusal.delta"):
        return _Said(text=_text(chunk, "delta"), content=_text(chunk, "delta") != "")
    return _Said(content=True)


def _place_of(chunk: dict[str, Any], name: str, kind: str) -> object:
    """What tells one item from others: its place, else its id, else its kind."""
    if isinstance(place := chunk.get("output_index"), int) and not isinstance(place, bool) and place >= 0:
        return place
    kinds = {"reasoning": "thought", "message": "text", "output_text": "text", "refusal": "text"}
    return name or next((kinds[start] for start in kinds if kind.startswith(start)), "call")


def _responses(chunk: dict[str, Any], state: _State) -> _Said:
    if chunk.get("object") == "response":
        return _answered(chunk, _text(chunk, "status") or "completed")
    kind = _text(chunk, "type")
    if not kind:
        raise Malformed
    if kind.endswith(".delta"):
        state.told.add(_place_of(chunk, _text(chunk, "item_id"), kind.split(".", 1)[-1]))
        state.any = True
        return _response_delta(kind, chunk)
    if kind == "response.output_item.done":
        item = _dict(chunk, "item")
        if _place_of(chunk, _text(item, "id"), _text(item, "type")) in state.told:
            return _Said()
        said = _output([item])
        state.any = state.any or said.content or said.thought != ""
        return said
    if kind in {f"response.{status}" for status in ("completed", "incomplete", "failed", "cancelled")}:
        said = _answered(_dict(chunk, "response"), kind.split(".", 1)[1])
        if state.any:
            said.text, said.thought, said.content = "", "", False
        return said
    return _Said()


def _blocks(blocks: list[dict[str, Any]]) -> _Said:
    """The blocks of an answer of /v1/messages."""
    said = _Said(
        text="".join(_text(block, "text") for block in blocks),
        thought="".join(_text(block, "thinking") for block in blocks),
    )
    said.content = said.text != "" or any(_text(block, "type").endswith("tool_use") for block in blocks)
    return said


def _with_usage(said: _Said, holder: dict[str, Any], reason: str, state: _State) -> _Said:
    inputs = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    names = (*inputs, "output_tokens")
    state.usage.update(_counts(_usage(holder), **dict(zip(names, names, strict=True))))
    if set(inputs) & set(state.usage):
        said.counts["prompt"] = sum(state.usage.get(name, 0) for name in inputs)
    if "output_tokens" in state.usage:
        said.counts["count"] = state.usage["output_tokens"]
    ours = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
    said.reason = ours.get(reason, reason)
    said.seen = {0}
    said.finished = {0} if reason else set()
    return said


def _message_delta(delta: dict[str, Any], place: int, state: _State) -> _Said:
    kind = _text(delta, "type")
    if kind == "input_json_delta":
        state.open_calls -= {place}
        return _Said(content=True)
    if kind == "text_delta":
        return _Said(text=_text(delta, "text"), content=_text(delta, "text") != "")
    return _Said(thought=_text(delta, "thinking") if kind == "thinking_delta" else "")


def _messages(chunk: dict[str, Any], state: _State) -> _Said:
    kind, place = _text(chunk, "type"), _number(chunk.get("index"), 0)
    if not kind:
        raise Malformed
    if kind in ("message", "message_start"):
        message = chunk if kind == "message" else _dict(chunk, "message")
        said = _with_usage(_blocks(_dicts(message, "content")), message, _text(message, "stop_reason"), state)
        said.done = kind == "message"
        return said
    if kind == "content_block_start":
        calls = _text(_dict(chunk, "content_block"), "type").endswith("tool_use")
        state.open_calls |= {place} if calls else set()
        return _Said() if calls else _blocks([chunk["content_block"]])
    if kind == "content_block_delta":
        return _message_delta(_dict(chunk, "delta"), place, state)
    if kind == "message_delta":
        return _with_usage(_Said(), chunk, _text(_dict(chunk, "delta"), "stop_reason"), state)
    return _Said(done=kind == "message_stop", content=kind == "content_block_stop" and place in state.open_calls)


def _embeddings(chunk: dict[str, Any], _: _State) -> _Said:
    if _form(chunk, in_events=False, foreign=False) != "embeddings":
        raise Malformed
    _counts(chunk, a="total_duration", b="load_duration")
    counts = _counts(chunk, prompt="prompt_eval_count")
    counts.update(_counts(_usage(chunk), prompt="prompt_tokens"))
    return _Said(done=True, counts=counts)


_READ = {
    "ollama": _ollama,
    "v1": _v1,
    "responses": _responses,
    "messages": _messages,
    "embeddings": _embeddings,
}
