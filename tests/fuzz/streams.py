"""Random valid answers with what a decoder must find in them, and random damage."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
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
    *(
        b"error: {}\n\n",
        b"event: ping\ndata: {}\n\n",
        b"event: x\ndata: no\n\n",
        b'"object":"error",',
        b'"detail":"d",',
    ),
    *(b'"type":"ping",', b'"type":"message",', b'"object":"response",', b'"output_index":0,', b'"status":"failed",'),
    *(b'"stop_reason":"end_turn",', b'"output_tokens":5,', b'"content":[],', b'"embedding":[],', b'"data":[],'),
    *(b'"finish_reason":"stop",', b'"index":1,', b'"message":"m",', b'"thinking":"t",', b"event: x\ndata: {\n\n"),
)
ODD_VALUES = (
    *(
        b"true",
        b"false",
        b"null",
        b"NaN",
        b"Infinity",
        b"1e999",
        b"3.0",
        b"3.5",
        b"-1",
        b"7",
        b"9" * 30,
        b"9" * 5000,
        b"-0",
    ),
    *(b'"x"', b'""', b'"\\udc00"', b'"\xff"', b'"\xed\xa0\x80"', b"{}", b'{"a":1}', b"[]", b'["x"]', b"[{}]"),
    *(b"[" * 1500 + b"]" * 1500, b'{"a":' * 1500 + b"1" + b"}" * 1500, b'1,"done":true', b'1,"eval_count":8'),
)
RESPONSE_DELTAS = (
    *("output_text", "output_text", "output_text", "refusal"),
    *("reasoning_text", "reasoning_summary_text", "function_call_arguments"),
)
_TOKEN = re.compile(rb'(-?[0-9]+|true|false|null|"[^"\\]*"|\{\}|\[\])(?!\s*:)')


@dataclass
class Body:
    """A valid body, where its chunks of content and of thoughts end, and what it says.

    `delimited`: whether it is whole only where HTTP says so.
    """

    kind: str
    data: bytes
    ends: list[int]
    done: int
    values: dict[str, Any]
    thought_ends: list[int] = field(default_factory=list)
    delimited: bool = False


def body(rng: Random) -> Body:
    """An answer of any engine, streamed or not."""
    return rng.choice((_ollama, _ollama, _v1, _v1, _whole, _responses, _responses, _messages, _messages))(rng)


def framed(rng: Random, kind: str, data: bytes, *, delimited: bool = False) -> tuple[bytes, list[int]]:
    """The body in HTTP, which says where it ends or not; the bytes, and of each byte of the body its offset in them."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" if rng.random() < 0.1 else b""
    way = rng.choice(("chunked", "chunked", "length") if delimited else ("chunked", "chunked", "length", "close"))
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


def truth_of(body: Body, places: list[int], pieces: list[bytes]) -> Answer:
    """What must be found in the pieces of a framed body."""
    owners = owners_of(pieces)
    return answer_of([owners[place] for place in places], body.ends, body.thought_ends, body.done, **body.values)


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
    tokens = [match.span() for match in _TOKEN.finditer(data)] or [(0, 0)]
    start, stop = rng.choice(tokens if rng.random() < 0.5 else tokens[-6:])
    return data[:start] + rng.choice(ODD_VALUES) + data[stop:]


def _dumped(rng: Random, value: object) -> bytes:
    """JSON of any style; halves of characters can only be written as escapes."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5, separators=rng.choice(((",", ":"), (", ", ": "))))
    return text.encode("utf-8", "surrogatepass") if _whole_characters(text) else json.dumps(value).encode()


def _whole_characters(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _texts(rng: Random) -> list[str]:
    return [rng.choice(("", *WORDS)) for _ in range(rng.choice((0, 1, 3, 10, 60)))]


def _label(rng: Random, *usual: str) -> str:
    """A media type: the right one, none, or another."""
    return rng.choice(
        (*usual, *usual, *usual, "", "application/json", "application/x-ndjson", "text/event-stream", "text/x")
    )


def _number(rng: Random, value: int) -> int | float:
    """As an integer or as a float."""
    return float(value) if rng.random() < 0.2 else value


def _values(rng: Random, *, reason: str = "stop", counted: bool = True) -> dict[str, Any]:
    count = rng.randrange(2**40) if counted else 0
    prompt_count = rng.randrange(1000) if counted else 0
    return {"text": "", "thoughts": "", "count": count, "prompt_count": prompt_count, "reason": reason}


class _Chunks:
    """A body that grows, and what its chunks say."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.ends: list[int] = []
        self.thought_ends: list[int] = []
        self.texts: list[str] = []
        self.thoughts: list[str] = []

    def said(self, *, text: str = "", thought: str = "", tool: bool = False) -> None:
        """What was added last says this."""
        if text or tool:
            self.ends.append(len(self.data))
            self.texts.append(text)
        if thought:
            self.thought_ends.append(len(self.data))
            self.thoughts.append(thought)

    def body(self, kind: str, done: int, values: dict[str, Any], *, delimited: bool = False) -> Body:
        values = {**values, "text": whole_text("".join(self.texts)), "thoughts": whole_text("".join(self.thoughts))}
        return Body(kind, bytes(self.data), self.ends, done, values, self.thought_ends, delimited)


def _ollama(rng: Random) -> Body:
    """A stream of generate or chat, in lines or in events."""
    texts, chat, in_events = _texts(rng), rng.random() < 0.5, rng.random() < 0.1
    values = _values(rng, reason=rng.choice(("stop", "length", "")))
    chunks = _Chunks(b"\xef\xbb\xbf" if rng.random() < 0.1 else b"")
    tools = rng.randrange(len(texts) + 1) if chat and rng.random() < 0.3 else -1

    def add(value: dict[str, Any]) -> None:
        text = _dumped(rng, value)
        chunks.data += b"data: " + text + b"\n\n" if in_events else text + rng.choice((b"\n", b"\n", b"\r\n", b" \n"))

    def pause() -> None:
        if rng.random() < 0.1:
            chunks.data += b": x\n\n" if in_events else rng.choice((b"\n", b"\r\n", b"  \n"))

    for index, text in enumerate(texts):
        member = rng.choice(("content" if chat else "response", "thinking"))
        message: dict[str, Any] = {member: text} if chat else {"response": text, member: text}
        if index == tools:
            message["tool_calls"] = [{"function": {"name": "f", "arguments": {}}}]
        add({"message": message, "done": False} if chat else {**message, "done": False})
        thinks = member == "thinking"
        chunks.said(text="" if thinks and chat else text, thought=text if thinks else "", tool=index == tools)
        pause()
    figures = {"eval_count": _number(rng, values["count"]), "prompt_eval_count": values["prompt_count"]}
    last = {"done": True, **figures, **({"done_reason": values["reason"]} if values["reason"] else {})}
    add(last)
    done = len(chunks.data)
    if rng.random() < 0.2:
        add(rng.choice((last, {"done": True}, {"done": False}, {"response": "", "done": False})))
    elif rng.random() < 0.2 and not in_events:
        chunks.data = chunks.data.rstrip()
        done = len(chunks.data)
    kind = _label(rng, "text/event-stream") if in_events else _label(rng, "application/x-ndjson")
    return chunks.body(kind, done, values)


def _odd_event(rng: Random, end: bytes) -> bytes:
    """An event that is no part of the answer, or a field before one that is."""
    name = rng.choice((b"ping", b"tool", b"x.y"))
    data = rng.choice((b"{}", b'{"type": "ping"}', b"alive", b"null", b"1", b'{"message": "m"}', b""))
    whole = (b": ping" + end, b"retry: 5" + end, b"event: " + name + end + b"data: " + data + end)
    return rng.choice((*(event + end for event in whole), b"event: message" + end, b"event: x" + end, b"id: 1" + end))


def _v1(rng: Random) -> Body:
    """A stream of chat or completions, in events; of chat in lines, too."""
    texts, chat, counted = _texts(rng), rng.random() < 0.7, rng.random() < 0.8
    values, end = _values(rng, counted=counted), rng.choice((b"\n", b"\n", b"\r\n", b"\r"))
    in_lines = chat and rng.random() < 0.1
    usage = {"completion_tokens": _number(rng, values["count"]), "prompt_tokens": values["prompt_count"]}
    place = rng.choice(("finish", "own", "own", "after")) if counted else ""
    bom = rng.choice((b"", b"", b"\xef\xbb\xbf"))
    chunks = _Chunks(bom if in_lines else rng.choice((bom, b": hello" + end + end, end)))

    def event(value: bytes) -> None:
        if in_lines:
            chunks.data += value + b"\n"
            return
        if rng.random() < 0.1:
            chunks.data += _odd_event(rng, end)
        for part in value.split(b"\n"):
            chunks.data += rng.choice((b"data: ", b"data: ", b"data:")) + part + end
        chunks.data += end

    for text in ["", *texts]:
        member = rng.choice(("content", "reasoning", "reasoning_content")) if chat else "text"
        choice: dict[str, Any] = {"delta": {member: text}} if chat else {"text": text}
        tool = chat and rng.random() < 0.05
        if tool:
            choice["delta"]["tool_calls"] = [{"index": 0, "function": {"arguments": "{"}}]
        value: dict[str, Any] = {"choices": [{"index": 0, **choice, "finish_reason": None}], "usage": None}
        indented = rng.random() < 0.2 and not in_lines
        event(json.dumps(value, indent=1).encode() if indented else _dumped(rng, value))
        thinks = member.startswith("reasoning")
        chunks.said(text="" if thinks else text, thought=text if thinks else "", tool=tool)
    finish = {"choices": [{"delta": {}, "finish_reason": "stop"}], **({"usage": usage} if place == "finish" else {})}
    event(_dumped(rng, finish))
    if place == "own":
        event(_dumped(rng, {"choices": [], **({"object": "x"} if rng.random() < 0.5 else {}), "usage": usage}))
    done, delimited = len(chunks.data), rng.random() < 0.3 and place != "after"
    if not delimited:
        event(b"[DONE]")
        done = len(chunks.data)
        if place == "after":
            event(_dumped(rng, {"choices": [], "usage": usage}))
        elif rng.random() < 0.2:
            event(b"[DONE]")
        elif rng.random() < 0.2:
            del chunks.data[-1 if in_lines else -len(end) :]
            done = len(chunks.data)
    kind = _label(rng, "application/json") if in_lines else _label(rng, "text/event-stream")
    return chunks.body(kind, done, values, delimited=delimited)


class _Events(_Chunks):
    """A stream of events, mostly named by their type."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self._rng = rng
        self._end = rng.choice((b"\n", b"\n", b"\r\n"))
        self._named = rng.random() < 0.8

    def add(self, kind: str, **members: Any) -> None:
        """One event."""
        if self._rng.random() < 0.1:
            ping = b'data: {"type": "ping"}' + self._end + self._end
            self.data += self._rng.choice((b": x" + self._end + self._end, b"event: ping" + self._end + ping, ping))
        if self._named:
            self.data += b"event: " + kind.encode() + self._end
        self.data += b"data: " + _dumped(self._rng, {"type": kind, **members}) + self._end + self._end


def _responses(rng: Random) -> Body:
    """A stream of `/v1/responses`."""
    values = _values(rng, reason=rng.choice(("stop", "length")))
    events = _Events(rng)
    if rng.random() < 0.9:
        events.add("response.created", response={"object": "response", "status": "in_progress", "error": None})
    events.add("response.output_item.added", output_index=0, item={"type": "message"})
    for place, text in enumerate(_texts(rng)):
        kind = rng.choice(RESPONSE_DELTAS)
        events.add(f"response.{kind}.delta", output_index=place, delta=text)
        events.said(
            text=text if kind in ("output_text", "refusal") else "",
            thought=text if kind.startswith("reasoning") else "",
            tool=kind.startswith("function"),
        )
        if rng.random() < 0.2:
            item = {"type": "message", "content": [{"type": "output_text", "text": text}]}
            events.add("response.output_item.done", output_index=place, item=item)
    if rng.random() < 0.2:
        events.add("response.output_item.done", output_index=99, item={"type": "function_call", "arguments": "{}"})
        events.said(tool=True)
    usage = {"input_tokens": values["prompt_count"], "output_tokens": _number(rng, values["count"])}
    status = "completed" if values["reason"] == "stop" else "incomplete"
    whole = {"object": "response", "status": status, "error": None, "usage": usage, "output": []}
    why = {"incomplete_details": {"reason": "max_output_tokens"}} if status == "incomplete" else {}
    events.add(f"response.{status}", response={**whole, **why})
    done = len(events.data)
    if rng.random() < 0.2:
        events.data += b"data: [DONE]\n\n"
    return events.body(_label(rng, "text/event-stream"), done, values)


def _messages(rng: Random) -> Body:
    """A stream of `/v1/messages`."""
    values = _values(rng, reason=rng.choice(("stop", "length", "tool_calls")))
    cached = rng.randrange(values["prompt_count"] + 1)
    usage = {"input_tokens": values["prompt_count"] - cached, "cache_read_input_tokens": cached, "output_tokens": 1}
    events = _Events(rng)
    events.add("message_start", message={"type": "message", "role": "assistant", "content": [], "usage": usage})
    for index, text in enumerate(_texts(rng)):
        kind = rng.choice(("text", "text", "thinking", "tool_use"))
        block = {"type": kind, **({kind: ""} if kind != "tool_use" else {"id": "t", "name": "f", "input": {}})}
        events.add("content_block_start", index=index, content_block=block)
        if kind == "tool_use" and text:
            delta = {"type": "input_json_delta", "partial_json": text}
        else:
            delta = {"type": f"{kind}_delta", kind: text}
        if kind != "tool_use" or text:
            events.add("content_block_delta", index=index, delta=delta)
            events.said(
                text=text if kind == "text" else "",
                thought=text if kind == "thinking" else "",
                tool=kind == "tool_use",
            )
        if kind == "thinking" and rng.random() < 0.5:
            events.add("content_block_delta", index=index, delta={"type": "signature_delta", "signature": "x"})
        events.add("content_block_stop", index=index)
        if kind == "tool_use" and not text:
            events.said(tool=True)
    reason = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}[values["reason"]]
    count = {"output_tokens": _number(rng, values["count"])}
    events.add("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=count)
    done, delimited = len(events.data), rng.random() < 0.2
    if not delimited:
        events.add("message_stop")
        done = len(events.data)
    return events.body(_label(rng, "text/event-stream"), done, values, delimited=delimited)


def _whole(rng: Random) -> Body:
    """An answer that is not streamed."""
    text, thought = rng.choice(("hello", "", "é", "a\nb")), rng.choice(("", "", "hm"))
    values = _values(rng)
    v1_usage = {"completion_tokens": _number(rng, values["count"]), "prompt_tokens": values["prompt_count"]}
    usage = {"eval_count": values["count"], "prompt_eval_count": values["prompt_count"], "done_reason": "stop"}
    tokens = {"input_tokens": values["prompt_count"], "output_tokens": values["count"]}
    vectors: list[Any] = [[0.5, -1e-3], "AAA="]
    shapes: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: {"response": text, "thinking": thought, "done": True, **usage},
        lambda: {"message": {"content": text, "thinking": thought}, "done": True, **usage},
        lambda: {
            "choices": [{"message": {"content": text, "reasoning": thought}, "finish_reason": "stop"}],
            "usage": v1_usage,
        },
        lambda: {
            "choices": [{"text": text, "reasoning_content": thought, "finish_reason": "stop"}],
            "usage": v1_usage,
        },
    )
    blocks = [{"type": "thinking", "thinking": thought}, {"type": "text", "text": text}]
    items = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": thought}]},
        {"type": "message", "content": [{"type": "output_text", "text": text}]},
    ]
    shapes += (
        lambda: {"type": "message", "content": blocks, "stop_reason": "end_turn", "usage": tokens},
        lambda: {"object": "response", "status": "completed", "error": None, "output": items, "usage": tokens},
    )
    if rng.random() < 0.2:
        text, thought = "", ""
        values = {**values, "count": 0, "reason": ""}
        prompt = values["prompt_count"]
        shapes = (
            lambda: {"embeddings": vectors[:1], "total_duration": 5, "load_duration": 2, "prompt_eval_count": prompt},
            lambda: {"object": "list", "data": [{"embedding": vectors[0]}], "usage": {"prompt_tokens": prompt}},
        )
    chunks = _Chunks(json.dumps(rng.choice(shapes)(), indent=rng.choice((None, 2))).encode())
    chunks.said(text=text, thought=thought)
    return chunks.body(_label(rng, "application/json"), len(chunks.data), values)
