"""Raw answers as real servers send them, HTTP included: those that are whole, and those that are errors.

What is whole says the same in all of them: text `ab` in two content chunks, 2 tokens, 9 prompt tokens, reason `stop`.
"""

import json
from collections.abc import Sequence

EVENTS, LINES, OBJECT = "text/event-stream", "application/x-ndjson", "application/json"


def http(
    kind: str, parts: Sequence[bytes], *, status: str = "200 OK", extra: Sequence[str] = (), end: bool = True
) -> bytes:
    """An answer in chunked coding, a chunk for each part."""
    head = [f"HTTP/1.1 {status}", *([f"Content-Type: {kind}"] if kind else []), "Transfer-Encoding: chunked", *extra]
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body + (b"0\r\n\r\n" if end else b"")


def sized(kind: str, body: bytes, *, status: str = "200 OK", extra: Sequence[str] = ()) -> bytes:
    """An answer with a length."""
    head = [f"HTTP/1.1 {status}", *([f"Content-Type: {kind}"] if kind else []), f"Content-Length: {len(body)}", *extra]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def event(value: object, name: str = "", *, end: str = "\n") -> bytes:
    data = value if isinstance(value, str) else json.dumps(value)
    return ((f"event: {name}{end}" if name else "") + f"data: {data}{end}{end}").encode()


def delta(text: str, reason: str | None = None, *, index: int = 0, end: str = "\n") -> bytes:
    return event({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": reason}]}, end=end)


def line(**members: object) -> bytes:
    return (json.dumps(members) + "\n").encode()


def usage(prompt: float, completion: float) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return event({"choices": [], "usage": counts})


USAGE = usage(9, 2)
TWO = [delta("a"), delta("b", "stop"), USAGE]
DONE = event("[DONE]")
FIGURES: dict[str, object] = {
    **{"done": True, "done_reason": "stop", "total_duration": 50_000_000, "load_duration": 1_000_000},
    **{"prompt_eval_count": 9, "prompt_eval_duration": 4_000_000, "eval_count": 2, "eval_duration": 20_000_000},
}
FLOATS = {name: float(value) if type(value) is int else value for name, value in FIGURES.items()}
AB = [line(response="a", done=False), line(response="b", done=False)]
LAST = line(response="", **FIGURES)
NDJSON = [*AB, LAST]
THOUGHT = line(response="", thinking="hm", done=False)
BOM = b"\xef\xbb\xbf"
V1_LINES = [part.removeprefix(b"data: ").rstrip() + b"\n" for part in TWO]
CRLF = [delta("a", end="\r\n"), delta("b", "stop", end="\r\n"), USAGE.replace(b"\n", b"\r\n"), b"data: [DONE]\r\n\r\n"]

WHOLE = {
    "done_twice": http(EVENTS, [*TWO, DONE, DONE]),
    "no_done_but_finish_reason": http(EVENTS, TWO),
    "ping_event_with_json": http(EVENTS, [event({"type": "ping"}, "ping"), *TWO, DONE]),
    "ndjson_labelled_json": http(OBJECT, NDJSON),
    "events_labelled_text": http("text/plain; charset=utf-8", [*TWO, DONE]),
    "float_counts": http(EVENTS, [*TWO[:2], usage(9.0, 2.0), DONE]),
    # more of each kind
    "Ollama's done twice": http(LINES, [*NDJSON, LAST]),
    "done twice, the second time without figures": http(LINES, [*NDJSON, line(response="", done=True)]),
    "an empty chunk after done": http(LINES, [*NDJSON, line(response="", done=False)]),
    "usage after [DONE]": http(EVENTS, [*TWO[:2], DONE, USAGE]),
    "a named event after [DONE]": http(EVENTS, [*TWO, DONE, event({"type": "bye"}, "end")]),
    "no [DONE], with a length": sized(EVENTS, b"".join(TWO)),
    "no [DONE], a comment at the end": http(EVENTS, [*TWO, b": bye\n\n"]),
    "a ping of words": http(EVENTS, [TWO[0], event("still there", "ping"), *TWO[1:], DONE]),
    "progress of a tool": http(
        EVENTS, [TWO[0], event({"status": "searching", "message": "x"}, "tool"), *TWO[1:], DONE]
    ),
    "a heartbeat without data": http(EVENTS, [TWO[0], b"event: heartbeat\n\n", *TWO[1:], DONE]),
    "a heartbeat of null": http(EVENTS, [TWO[0], event("null", "heartbeat"), *TWO[1:], DONE]),
    "chunks in named events": http(EVENTS, [b"event: completion\n" + part for part in TWO] + [DONE]),
    "NDJSON labelled as events": http(EVENTS, NDJSON),
    "NDJSON labelled as text": http("text/plain", NDJSON),
    "NDJSON without a label": http("", NDJSON),
    "NDJSON with a byte order mark": http(LINES, [BOM + NDJSON[0], *NDJSON[1:]]),
    "NDJSON with blank lines": http(OBJECT, [b"\n", NDJSON[0], b"\r\n", *NDJSON[1:]]),
    "events without a label": http("", [*TWO, DONE]),
    "events labelled as JSON": http(OBJECT, [*TWO, DONE]),
    "events labelled as NDJSON": http(LINES, [b": hello\n\n", *TWO, DONE]),
    "events behind a blank line": http("text/plain", [b"\n", *TWO, DONE]),
    "events with a byte order mark": http("", [BOM + TWO[0], *TWO[1:], DONE]),
    "events that end in CRLF": http("", CRLF),
    "Ollama's lines in events": http(EVENTS, [event(part.decode().strip()) for part in NDJSON]),
    "Ollama's lines in events, and [DONE]": http(EVENTS, [event(part.decode().strip()) for part in NDJSON] + [DONE]),
    "OpenAI's chunks in lines": http(LINES, V1_LINES),
    "OpenAI's chunks in lines, and [DONE]": http(OBJECT, [*V1_LINES, b"[DONE]\n"]),
    "Ollama's counts as floats": http(LINES, [*AB, line(response="", **FLOATS)]),
    "fractions of nanoseconds": http(LINES, [*AB, line(response="", **{**FIGURES, "eval_duration": 2e7 + 0.4})]),
    "a message of null": http(LINES, [line(response="a", message=None, done=False), *NDJSON[1:]]),
    "a capital label": http("Text/Event-Stream;charset=UTF-8", [*TWO, DONE]),
}
"""By name, each once: text `ab` and so on."""

THINKING = {
    "thinking_then_text": http(LINES, [THOUGHT, *NDJSON]),
    "chat": http(
        LINES,
        [
            line(message={"role": "assistant", "content": "", "thinking": "hm"}, done=False),
            line(message={"role": "assistant", "content": "a"}, done=False),
            line(message={"role": "assistant", "content": "b"}, done=False),
            LAST,
        ],
    ),
    "reasoning_content": http(EVENTS, [event({"choices": [{"delta": {"reasoning_content": "hm"}}]}), *TWO, DONE]),
    "reasoning": http(EVENTS, [event({"choices": [{"delta": {"content": "", "reasoning": "hm"}}]}), *TWO, DONE]),
    "both names": http(
        EVENTS, [event({"choices": [{"delta": {"reasoning": "hm", "reasoning_content": "hm"}}]}), *TWO, DONE]
    ),
}
"""As WHOLE, with one chunk of thoughts, `hm`, before."""

LONG = (
    "the request of 9000 tokens exceeds the context of 4096 tokens; shorten it or raise the context size of the server"
)
BUSY = (
    "no slot was free for this request within the time that the server's administrator allows for it: please come again"
)

ERRORS = {
    "error_as_field": (http(EVENTS, [f'error: {{"code":400,"message":"{LONG}"}}\n\n'.encode(), DONE]), LONG),
    "a field of plain words": (http(EVENTS, [TWO[0], f"error: {BUSY}\n\n".encode(), DONE]), BUSY),
    "an event called error": (http(EVENTS, [TWO[0], event({"message": BUSY}, "error"), DONE]), BUSY),
    "an event called error, in words": (http(EVENTS, [TWO[0], event(BUSY, "error"), DONE]), BUSY),
    "an event called error, as OpenAI's": (http(EVENTS, [event({"error": {"message": BUSY}}, "error"), DONE]), BUSY),
    "an error in another event": (http(EVENTS, [event({"error": BUSY}, "progress"), DONE]), BUSY),
    "an object called error": (http(EVENTS, [TWO[0], event({"object": "error", "message": BUSY}), DONE]), BUSY),
    "a type called error": (http(EVENTS, [event({"type": "error", "error": {"message": BUSY}}), DONE]), BUSY),
    "error is true": (http(LINES, [AB[0], line(error=True, message=BUSY)]), BUSY),
    "a detail": (http(LINES, [AB[0], line(detail=BUSY)]), BUSY),
    "a message alone": (http(EVENTS, [event({"message": BUSY, "code": 503}), DONE]), BUSY),
    "a message within": (http(LINES, [line(error={"code": 1, "error": {"message": BUSY}})]), BUSY),
    "a list of messages": (http(LINES, [line(errors=[BUSY, "and more"])]), f"{BUSY}; and more"),
    "a list of objects": (http(LINES, [line(errors=[{"message": BUSY}, {"message": "more"}])]), f"{BUSY}; more"),
    "a word, and the text beside it": (
        sized(OBJECT, line(error="Busy", message=BUSY), status="503 X"),
        f"Busy: {BUSY}",
    ),
    "FastAPI's list": (
        sized(OBJECT, line(detail=[{"loc": ["body", "model"], "msg": "Field required"}]), status="422 X"),
        '{"loc": ["body", "model"], "msg": "Field required"}',
    ),
    "an object without a known member": (http(LINES, [line(error={"why": BUSY})]), f'{{"why": "{BUSY}"}}'),
    "an answer that the server gave up": (http(EVENTS, [TWO[0], delta("", "error"), DONE]), "finish_reason error"),
    "an answer that the server aborted": (http(EVENTS, [TWO[0], delta("", "abort"), DONE]), "finish_reason abort"),
    "after the end": (http(EVENTS, [*TWO, DONE, event({"error": BUSY})]), BUSY),
    "a status with a plain object": (sized(OBJECT, line(error=BUSY), status="500 Oops"), BUSY),
    "a status with vLLM's object": (sized(OBJECT, line(object="error", message=BUSY), status="400 Bad"), BUSY),
    "a status with FastAPI's detail": (sized(OBJECT, line(detail=BUSY), status="422 Bad"), BUSY),
    "a status with words": (sized("text/plain", BUSY.encode(), status="502 Bad Gateway"), BUSY),
    "a status with an unknown object": (sized(OBJECT, line(why=BUSY), status="500 Oops"), f'{{"why": "{BUSY}"}}'),
    "a status in chunks": (http(OBJECT, [line(error=BUSY)], status="500 Oops"), BUSY),
    "plain words, with status 200": (http("text/plain", [BUSY.encode()]), BUSY),
}
"""By name, each with the whole text that must be shown."""

TORN = {
    "no finish_reason": http(EVENTS, [delta("a"), delta("b")]),
    "no finish_reason, with usage": http(EVENTS, [delta("a"), delta("b"), USAGE]),
    "finish_reason, but HTTP is torn": http(EVENTS, TWO, end=False),
    "finish_reason, but HTTP has no end of its own": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    + b"".join(TWO),
    "lines without finish_reason, with usage": http(LINES, [V1_LINES[0], V1_LINES[2]]),
    "finish_reason of one of two answers": http(EVENTS, [delta("a", index=1), delta("b", "stop"), USAGE]),
    "Ollama's without done": http(OBJECT, AB),
    "Ollama's lines in events, and [DONE] in place of done": http(
        EVENTS, [*(event(part.decode().strip()) for part in AB), DONE]
    ),
    "a torn chunk in a named event": http(EVENTS, [event('{"choices": [{"delta": {"con', "x"), *TWO, DONE]),
    "text after the end": http(EVENTS, [*TWO, DONE, delta("c")]),
    "thoughts after the end": http(LINES, [*NDJSON, THOUGHT]),
    "half a count": http(EVENTS, [*TWO[:2], usage(9.0, 2.5), DONE]),
    "an endless duration": http(LINES, [*AB, LAST.replace(b"20000000", b"1e999")]),
    "half a line of JSON": http(OBJECT, [AB[0], b'{"respon']),
    "an object cut in two": http(OBJECT, [b'{\n  "response": "ab",\n'], end=False),
}
"""By name: no answer can be had of these."""
