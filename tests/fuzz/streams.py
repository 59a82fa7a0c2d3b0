"""Random valid answers with what a decoder must find in them, and random damage."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.fuzz.reference import Answer, answer_of, owners_of, whole_text

WORDS = (" tok", "a", "é", "😀", "\u2028", "\n", '"', "\\", "\x7f", "data: x\n\n", "[DONE]", " ", "\ud83d", "\ude00")
SPICE = (
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"true", b"null", b"9" * 5000, b"9" * 30, b"[" * 1500, b'{"a":' * 1500),
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"data:", b"data: [DONE]\n\n", b": ping\n\n", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
    *(b"\xff", b"\x00", b"0\r\n\r\n", b"5;x=y\r\n", b"ffffffffffffffff\r\n", b"-5\r\n", b'"\\ud800"', b'"error":"x",'),
    *(b'"done":true,', b'"eval_count":7,', b'{"done":true}\n', b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n"),
    *(b"Content-Encoding: gzip\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"X: y\r\n z\r\n"),
    *(b'"usage":{"completion_tokens":9},', b'"tool_calls":[{}],', b"event: error\n", b'{"error":{"message":"e"}}\n'),
)
ODD_VALUES = (
    *(b"true", b"false", b"null", b"NaN", b"Infinity", b"1e999", b"3.0", b"-1", b"7", b"9" * 30, b"9" * 5000, b"-0"),
    *(b'"x"', b'""', b'"\\udc00"', b'"\xff"', b'"\xed\xa0\x80"', b"{}", b'{"a":1}', b"[]", b'["x"]', b"[{}]"),
    *(b"[" * 1500 + b"]" * 1500, b'{"a":' * 1500 + b"1" + b"}" * 1500, b'1,"done":true', b'1,"eval_count":8'),
)
_TOKEN = re.compile(rb'(-?[0-9]+|true|false|null|"[^"\\]*"|\{\}|\[\])(?!\s*:)')


@dataclass
class Body:
    """A valid body, where its content chunks end, and what it says."""

    kind: str
    data: bytes
    ends: list[int]
    done: int
    values: dict[str, Any]


def body(rng: Random) -> Body:
    """An answer of any engine, streamed or not."""
    return rng.choice((_ollama, _ollama, _v1, _v1, _whole))(rng)


def framed(rng: Random, kind: str, data: bytes) -> tuple[bytes, list[int]]:
    """The body in HTTP; the bytes, and for each byte of the body its offset in them."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" if rng.random() < 0.1 else b""
    way = rng.choice(("chunked", "chunked", "length", "close"))
    version = b"HTTP/1.0" if way == "close" else b"HTTP/1.1"
    head = early + version + b" 200 OK\r\n" + (b"Content-Type: %s; charset=utf-8\r\n" % kind.encode() if kind else b"")
    if way != "chunked":
        head += b"Content-Length: %d\r\n" % len(data) if way == "length" else b"Connection: close\r\n"
        raw = head + b"\r\n" + data
        return raw, list(range(len(raw) - len(data), len(raw)))
    raw, places, at = bytearray(head + b"Transfer-Encoding: chunked\r\n\r\n"), [], 0
    while at < len(data):
        chunk = data[at : at + rng.choice((1, 7, 40, 300, 5000))]
        raw += b"%x%s\r\n" % (len(chunk), b";name=value" if rng.random() < 0.1 else b"")
        places += range(len(raw), len(raw) + len(chunk))
        raw += chunk + b"\r\n"
        at += len(chunk)
    raw += b"0\r\n" + (b"X-Trailer: yes\r\n" if rng.random() < 0.1 else b"") + b"\r\n"
    return bytes(raw), places


def pieces_of(rng: Random, raw: bytes) -> list[bytes]:
    """The bytes as reads might bring them, some of no bytes."""
    sizes = rng.choice(((1,), (0, 1, 3, 20), (10, 200, 1400), (16384,)))
    if len(raw) > 20_000:
        sizes = (1400, 16384)
    pieces, at = [], 0
    while at < len(raw):
        size = rng.choice(sizes)
        pieces.append(raw[at : at + size])
        at += size
    return pieces


def truth_of(one: Body, places: list[int], pieces: list[bytes]) -> Answer:
    """What must be found in the pieces of a framed body."""
    owners = owners_of(pieces)
    return answer_of([owners[place] for place in places], one.ends, one.done, **one.values)


def damaged(rng: Random, data: bytes) -> bytes:
    """One to four random changes, mostly one."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = rng.randrange(len(changed) + 1)
        stop = min(len(changed), start + rng.choice((0, 1, 1, 2, 10, 100)))
        way = rng.randrange(7)
        if way == 0 and stop > start:
            changed[start] ^= 1 << rng.randrange(8)
        elif way == 1:
            del changed[start:stop]
        elif way == 2:
            changed[start:stop] = rng.choice(SPICE)
        elif way == 3:
            changed[start:start] = changed[start:stop] * rng.randint(1, 3)
        elif way == 4:
            changed[start:stop] = rng.randbytes(stop - start)
        elif way == 5:
            changed += rng.choice((rng.choice(SPICE), changed[start:stop], changed[changed.rfind(b"\n", 0, -3) + 1 :]))
        elif rng.random() < 0.3:
            del changed[start:]
    return bytes(changed)


def swapped(rng: Random, data: bytes) -> bytes:
    """One value of the JSON is another, of any type; half the time one of the last, where the figures stand."""
    tokens = [found.span() for found in _TOKEN.finditer(data)] or [(0, 0)]
    start, stop = rng.choice(tokens if rng.random() < 0.5 else tokens[-6:])
    return data[:start] + rng.choice(ODD_VALUES) + data[stop:]


def _dumped(rng: Random, value: object) -> bytes:
    """JSON of any style; halves of characters can only be written as escapes."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5, separators=rng.choice(((",", ":"), (", ", ": "))))
    return text.encode("utf-8", "surrogatepass") if _whole_characters(text) else json.dumps(value).encode()


def _whole_characters(text: str) -> bool:
    return not any("\ud800" <= one <= "\udfff" for one in text)


def _texts(rng: Random) -> list[str]:
    return [rng.choice(("", *WORDS)) for _ in range(rng.choice((0, 1, 3, 10, 60)))]


def _values(rng: Random, texts: list[str], *, reason: str = "stop", counted: bool = True) -> dict[str, Any]:
    count = rng.randrange(2**40) if counted else 0
    return {
        "text": whole_text("".join(texts)),
        "count": count,
        "prompt_count": rng.randrange(1000) if counted else 0,
        "reason": reason,
    }


def _ollama(rng: Random) -> Body:
    """A stream of generate or chat."""
    texts, chat = _texts(rng), rng.random() < 0.5
    values, data, ends = _values(rng, texts, reason=rng.choice(("stop", "length", ""))), bytearray(), []
    tools = rng.randrange(len(texts) + 1) if chat and rng.random() < 0.3 else -1
    for index, text in enumerate(texts):
        said: dict[str, Any] = {rng.choice(("content" if chat else "response", "thinking")): text}
        if index == tools:
            said["tool_calls"] = [{"function": {"name": "f", "arguments": {}}}]
        data += _dumped(rng, {"message": said, "done": False} if chat else {**said, "response": text, "done": False})
        if not chat and "thinking" in said:  # both members are content
            texts[index] = text + text
        data += rng.choice((b"\n", b"\n", b"\r\n", b"\n\n", b" \n"))
        if text or index == tools:  # the line end of a following blank line is a later line's
            ends.append(data.rindex(b"}") + 1)
    values["text"] = whole_text("".join(texts))
    data += _dumped(rng, {"done": True, "eval_count": values["count"], "prompt_eval_count": values["prompt_count"],
                          **({"done_reason": values["reason"]} if values["reason"] else {})})  # fmt: skip
    done = len(data)
    ends = [data.index(b"\n", end) + 1 for end in ends]
    if rng.random() < 0.8:
        data += b"\n"
        done += 1
    return Body(rng.choice(("application/x-ndjson", "application/x-ndjson", "")), bytes(data), ends, done, values)


def _v1(rng: Random) -> Body:
    """An event stream of chat or completions."""
    texts, chat, counted = _texts(rng), rng.random() < 0.7, rng.random() < 0.8
    values, end = _values(rng, texts, counted=counted), rng.choice((b"\n", b"\n", b"\r\n", b"\r"))
    usage = {"completion_tokens": values["count"], "prompt_tokens": values["prompt_count"]}
    early = counted and rng.random() < 0.3
    data, ends = bytearray(rng.choice((b"", b"", b"\xef\xbb\xbf", b": hello" + end + end))), []

    def event(value: bytes) -> None:
        nonlocal data
        if rng.random() < 0.1:
            data += rng.choice((b": ping" + end + end, b"event: x" + end, b"id: 1" + end, b"retry: 5" + end + end))
        for part in value.split(b"\n"):
            data += rng.choice((b"data: ", b"data: ", b"data:")) + part + end
        data += end

    for text in ["", *texts]:
        member = rng.choice(("content", "reasoning", "reasoning_content")) if chat else "text"
        choice = {"delta": {member: text}} if chat else {"text": text}
        tool = chat and rng.random() < 0.05
        if tool:
            choice["delta"]["tool_calls"] = [{"index": 0, "function": {"arguments": "{"}}]
        value: dict[str, Any] = {"choices": [{"index": 0, **choice, "finish_reason": None}], "usage": None}
        lines = json.dumps(value, indent=1).encode() if rng.random() < 0.2 else _dumped(rng, value)
        event(lines)
        if text or tool:
            ends.append(len(data))
    event(_dumped(rng, {"choices": [{"delta": {}, "finish_reason": "stop"}], **({"usage": usage} if early else {})}))
    if counted and not early:
        event(_dumped(rng, {"choices": [], "usage": usage}))
    event(b"[DONE]")
    if rng.random() < 0.2:
        del data[-len(end) :]
    return Body("text/event-stream", bytes(data), ends, len(data), values)


def _whole(rng: Random) -> Body:
    """An answer that is not streamed."""
    text, indent = rng.choice(("hello", "", "é", "a\nb")), rng.choice((None, 2))
    values = _values(rng, [text])
    v1_usage = {"completion_tokens": values["count"], "prompt_tokens": values["prompt_count"]}
    usage = {"eval_count": values["count"], "prompt_eval_count": values["prompt_count"], "done_reason": "stop"}
    shapes: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: {"response": text, "done": True, **usage},
        lambda: {"message": {"content": text}, "done": True, **usage},
        lambda: {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": v1_usage},
        lambda: {"choices": [{"text": text, "finish_reason": "stop"}], "usage": v1_usage},
    )
    data = json.dumps(rng.choice(shapes)(), indent=indent).encode()
    kind = rng.choice(("application/json", "application/json", "")) if indent is None else "application/json"
    return Body(kind, data, [len(data)] if text else [], len(data), values)
