"""Every endpoint of the table, its answer written at known times: TTFT, duration and token counts are these."""

import json

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics import request_formulas
from pytest_llmperf.measure.tap.http_exchanges import abandoned_of, exchanges_of, timing
from pytest_llmperf.measure.tap.recording import Capture, CapturedConnection, Chunk, Stream, request_line
from pytest_llmperf.model import ENDPOINTS, RequestTiming
from pytest_llmperf.model.endpoints import endpoint_of, is_control

MS = 1_000_000
SENT_MS = 2
CAPTURE = Capture(start_ns=1, end_ns=10_000 * MS, before_ns=0, after_ns=0, agents=())

Timed = tuple[int, object]
"""When a part of an answer is written, ms after the request was sent, and the part."""


def line(at_ms: int, **members: object) -> Timed:
    return at_ms, json.dumps(members).encode() + b"\n"


def event(at_ms: int, kind: str = "", **members: object) -> Timed:
    value = {"type": kind, **members} if kind else members
    return at_ms, (f"event: {kind}\n" if kind else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


def choice(at_ms: int, *, index: int = 0, reason: str | None = None, **delta: object) -> Timed:
    return event(at_ms, choices=[{"index": index, "delta": delta, "finish_reason": reason}])


def text(at_ms: int, words: str, reason: str | None = None) -> Timed:
    return event(at_ms, choices=[{"index": 0, "text": words, "finish_reason": reason}])


DURATIONS = {"total_duration": 90 * MS, "load_duration": 5 * MS, "prompt_eval_duration": 20 * MS}
FIGURES = {"prompt_eval_count": 9, "eval_count": 4, "eval_duration": 60 * MS, **DURATIONS}
USAGE = event(80, choices=[], usage={"prompt_tokens": 9, "completion_tokens": 4})
DONE = (90, b"data: [DONE]\n\n")
CALL = {"function": {"name": "look_up", "arguments": {"word": "x"}}}
V1_CALL = {"index": 0, "id": "c", "function": {"name": "look_up", "arguments": ""}}
COMPLETED = {
    "object": "response",
    "status": "completed",
    "error": None,
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "ab"}]}],
    "usage": {"input_tokens": 9, "output_tokens": 4},
}
START = event(10, "message_start", message={"role": "assistant", "content": [], "usage": {"input_tokens": 7}})
STOP = [
    event(80, "message_delta", delta={"stop_reason": "end_turn"}, usage={"input_tokens": 9, "output_tokens": 4}),
    event(90, "message_stop"),
]


def block(at_ms: int, **delta: object) -> Timed:
    return event(at_ms, "content_block_delta", index=0, delta=delta)


STREAMS: dict[str, tuple[str, list[Timed], float | None, float | None]] = {
    "generate": (
        "/api/generate",
        [line(30, response="a", done=False), line(60, response="b", done=False), line(90, done=True, **FIGURES)],
        30,
        None,
    ),
    "generate, thinking": (
        "/api/generate",
        [line(15, thinking="hm"), line(50, response="b", done=False), line(90, done=True, **FIGURES)],
        50,
        15,
    ),
    "chat": (
        "/api/chat",
        [line(25, message={"content": ""}), line(40, message={"content": "ab"}), line(90, done=True, **FIGURES)],
        40,
        None,
    ),
    "chat, a thought and a tool call": (
        "/api/chat",
        [
            line(20, message={"content": "", "thinking": "hm"}, done=False),
            line(45, message={"content": "", "tool_calls": [CALL]}, done=False),
            line(90, done=True, **FIGURES),
        ],
        45,
        20,
    ),
    "chat completions": (
        "/v1/chat/completions",
        [choice(10, role="assistant"), choice(35, content="a"), choice(60, reason="stop", content="b"), USAGE, DONE],
        35,
        None,
    ),
    "chat completions, reasoning": (
        "/v1/chat/completions",
        [choice(12, reasoning="hm"), choice(55, reason="stop", content="a"), USAGE, DONE],
        55,
        12,
    ),
    "chat completions, a tool call": (
        "/v1/chat/completions",
        [
            choice(10, role="assistant", content=None),
            choice(33, reason="tool_calls", tool_calls=[V1_CALL]),
            USAGE,
            DONE,
        ],
        33,
        None,
    ),
    "chat completions, two choices": (
        "/v1/chat/completions",
        [
            *(choice(10, index=index, role="assistant") for index in (0, 1)),
            *(choice(32, index=1, content="a"), choice(60, index=0, reason="stop", content="b")),
            *(choice(70, index=1, reason="length"), USAGE, DONE),
        ],
        32,
        None,
    ),
    "completions": ("/v1/completions", [text(10, ""), text(37, "a"), text(60, "b", "stop"), USAGE, DONE], 37, None),
    "responses": (
        "/v1/responses",
        [
            event(10, "response.created", response={"object": "response", "status": "in_progress"}),
            event(12, "response.output_item.added", output_index=0, item={"type": "message"}),
            event(38, "response.output_text.delta", output_index=0, delta="a"),
            event(60, "response.output_text.delta", output_index=0, delta="b"),
            event(61, "response.output_text.done", output_index=0, text="ab"),
            event(90, "response.completed", response=COMPLETED),
        ],
        38,
        None,
    ),
    "responses, a reasoning and a tool call": (
        "/v1/responses",
        [
            event(14, "response.reasoning_summary_text.delta", output_index=0, delta="hm"),
            event(40, "response.output_item.added", output_index=1, item={"type": "function_call", "name": "look_up"}),
            event(42, "response.function_call_arguments.delta", output_index=1, delta="{}"),
            event(90, "response.completed", response={**COMPLETED, "output": []}),
        ],
        42,
        14,
    ),
    "responses, items without deltas": (
        "/v1/responses",
        [
            event(44, "response.output_item.done", output_index=0, item=COMPLETED["output"][0]),  # type: ignore[index]
            event(90, "response.completed", response=COMPLETED),
        ],
        44,
        None,
    ),
    "responses, items without a place": (
        "/v1/responses",
        [
            event(14, "response.reasoning_text.delta", delta="hm"),
            event(15, "response.output_item.done", item={"type": "reasoning", "content": [{"text": "hm"}]}),
            event(44, "response.output_item.done", item={"type": "function_call", "arguments": "{}"}),
            event(90, "response.completed", response={**COMPLETED, "output": []}),
        ],
        44,
        14,
    ),
    "responses, items that only have an id": (
        "/v1/responses",
        [
            event(14, "response.reasoning_text.delta", item_id="rs_1", delta="hm"),
            event(46, "response.output_item.done", item={**COMPLETED["output"][0], "id": "msg_1"}),  # type: ignore[index]
            event(90, "response.completed", response={**COMPLETED, "output": []}),
        ],
        46,
        14,
    ),
    "messages": (
        "/v1/messages",
        [
            START,
            event(11, "ping"),
            event(12, "content_block_start", index=0, content_block={"type": "text", "text": ""}),
            block(39, type="text_delta", text="ab"),
            event(60, "content_block_stop", index=0),
            *STOP,
        ],
        39,
        None,
    ),
    "messages, a thought and a tool call": (
        "/v1/messages",
        [
            START,
            event(12, "content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
            block(16, type="thinking_delta", thinking="hm"),
            block(20, type="signature_delta", signature="x"),
            event(21, "content_block_stop", index=0),
            event(
                41, "content_block_start", index=1, content_block={"type": "tool_use", "name": "look_up", "input": {}}
            ),
            event(43, "content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": ""}),
            *STOP,
        ],
        43,
        16,
    ),
    "messages, a tool call without arguments": (
        "/v1/messages",
        [
            START,
            event(41, "content_block_start", index=0, content_block={"type": "tool_use", "name": "now", "input": {}}),
            event(46, "content_block_stop", index=0),
            *STOP,
        ],
        46,
        None,
    ),
}
"""Path, parts, and when the first content and the first thought arrive, ms; each answer ends at 90 ms."""

WHOLE: dict[str, tuple[str, dict[str, object]]] = {
    "generate": ("/api/generate", {"response": "ab", "done": True, **FIGURES}),
    "chat": ("/api/chat", {"message": {"content": "ab"}, "done": True, **FIGURES}),
    "chat completions": (
        "/v1/chat/completions",
        {
            "choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4},
        },
    ),
    "completions": (
        "/v1/completions",
        {"choices": [{"text": "ab", "finish_reason": "stop"}], "usage": {"prompt_tokens": 9, "completion_tokens": 4}},
    ),
    "responses": ("/v1/responses", COMPLETED),
    "messages": (
        "/v1/messages",
        {
            "type": "message",
            "content": [{"type": "text", "text": "ab"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "cache_read_input_tokens": 6, "output_tokens": 4},
        },
    ),
}

EMBEDDINGS: dict[str, tuple[str, dict[str, object], int]] = {
    "embed": ("/api/embed", {"embeddings": [[0.5]], "total_duration": 8 * MS, "prompt_eval_count": 9}, 9),
    "embeddings": ("/api/embeddings", {"embedding": [0.5]}, 0),
    "v1": (
        "/v1/embeddings",
        {"object": "list", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 9, "total_tokens": 9}},
        9,
    ),
}


def timed(path: str, parts: list[Timed], kind: str = "text/event-stream") -> RequestTiming:
    """The answer through the tap: the request's last byte is handed on at SENT_MS, each part read at its time."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    writes = [(1, head), *((at_ms, b"%x\r\n%b\r\n" % (len(part), part)) for at_ms, part in parts)]  # type: ignore[arg-type]
    writes[-1] = writes[-1][0], writes[-1][1] + b"0\r\n\r\n"
    down = Stream(tuple(Chunk((SENT_MS + at_ms) * MS, (), data, 0) for at_ms, data in writes), 0)
    asked = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    up = Stream((Chunk(MS, (), asked, SENT_MS * MS),), 0)
    (http_exchange,) = exchanges_of(CapturedConnection(up, down), CAPTURE, label="agent a")
    return timing(http_exchange)


@pytest.mark.parametrize(("path", "parts", "ttft_ms", "thought_ms"), STREAMS.values(), ids=STREAMS.keys())
def test_a_stream_is_timed_by_its_first_content_and_its_first_thought(
    path: str, parts: list[Timed], ttft_ms: float, thought_ms: float | None
) -> None:
    """Whatever the endpoint calls them, to the nanosecond; the counts are the server's."""
    got = timed(path, parts)
    assert request_formulas.ttft_ms(got) == ttft_ms
    assert request_formulas.ttft_reasoning_ms(got) == thought_ms
    assert request_formulas.e2e_ms(got) == 90
    assert (got.eval_count, got.prompt_eval_count) == (4, 9)
    assert (got.endpoint, got.streamed, got.embedding) == (path, True, False)


@pytest.mark.parametrize(("path", "answer"), WHOLE.values(), ids=WHOLE.keys())
def test_an_answer_that_is_not_streamed_has_a_duration_and_no_ttft(path: str, answer: dict[str, object]) -> None:
    """The server's own TTFT is beside it where the server gives durations."""
    got = timed(path, [(70, json.dumps(answer).encode())], "application/json")
    assert (got.text, got.eval_count, got.prompt_eval_count, got.streamed) == ("ab", 4, 9, False)
    assert request_formulas.e2e_ms(got) == 70
    assert request_formulas.server_ttft_ms(got) == (25 if path.startswith("/api") else None)
    with pytest.raises(MeasurementError, match="not streamed"):
        request_formulas.ttft_ms(got)


@pytest.mark.parametrize(("path", "answer", "prompt"), EMBEDDINGS.values(), ids=EMBEDDINGS.keys())
def test_embeddings_have_a_duration_and_no_ttft(path: str, answer: dict[str, object], prompt: int) -> None:
    """Nor tokens of their own."""
    got = timed(path, [(70, json.dumps(answer).encode())], "application/json")
    assert (got.embedding, got.eval_count, got.prompt_eval_count, got.arrivals_ns) == (True, 0, prompt, ())
    assert not got.uncounted
    assert request_formulas.e2e_ms(got) == 70
    with pytest.raises(MeasurementError, match="embedding"):
        request_formulas.ttft_ms(got)


def test_every_endpoint_of_the_table_is_tried() -> None:
    """Streamed and in one object, as far as it can be."""
    texts = {row.path for row in ENDPOINTS if not row.embeds}
    assert {path for path, *_ in STREAMS.values()} == {path for path, _ in WHOLE.values()} == texts
    assert {path for path, *_ in EMBEDDINGS.values()} == {row.path for row in ENDPOINTS if row.embeds}


CUT = {
    "/v1/responses": [event(30, "response.output_text.delta", output_index=0, delta="a"), (50, b"event: response.out")],
    "/v1/messages": [START, block(30, type="text_delta", text="a"), (50, b'data: {"type": "content_bl')],
    "/v1/chat/completions": [choice(30, content="a"), (50, b"data: {")],
    "/api/chat": [line(30, message={"content": "a"}, done=False), (50, b'{"mess')],
}


@pytest.mark.parametrize(("path", "parts"), CUT.items(), ids=CUT)
def test_an_answer_that_its_agent_left_is_timed_until_then(path: str, parts: list[Timed]) -> None:
    """In every dialect; there is no token count."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    writes = [(1, head), *((at_ms, b"%x\r\n%b\r\n" % (len(part), part)) for at_ms, part in parts)]  # type: ignore[arg-type]
    down = Stream(tuple(Chunk((SENT_MS + at_ms) * MS, (), data, 0) for at_ms, data in writes), 0)
    asked = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    up = Stream((Chunk(MS, (), asked, SENT_MS * MS),), (SENT_MS + 60) * MS)
    (http_exchange,) = exchanges_of(CapturedConnection(up, down), CAPTURE, label="agent a")
    got = timing(http_exchange)
    assert got.cancelled
    assert (got.text, got.eval_count) == ("a", 0)
    assert (request_formulas.ttft_ms(got), request_formulas.e2e_ms(got)) == (30, 60)


FAILURES = {
    "responses": ("/v1/responses", [event(20, "response.failed", response={"error": {"message": "no memory"}})]),
    "an error of responses": ("/v1/responses", [event(20, "error", message="no memory")]),
    "messages": ("/v1/messages", [START, event(20, "error", error={"type": "api_error", "message": "no memory"})]),
    "embeddings": ("/api/embed", [line(20, error="no memory")]),
}


@pytest.mark.parametrize(("path", "parts"), FAILURES.values(), ids=FAILURES.keys())
def test_an_error_in_an_answer_is_the_servers(path: str, parts: list[Timed]) -> None:
    """In its words."""
    with pytest.raises(MeasurementError, match="no memory"):
        timed(path, parts)


TORN = {
    "responses": ("/v1/responses", [event(20, "response.output_text.delta", delta="a")], "response.completed"),
    "messages": ("/v1/messages", [START, block(20, type="text_delta", text="a")], "message_stop"),
    "a response in the background": ("/v1/responses", [line(20, object="response", status="queued")], "queued"),
    "an event without a type": ("/v1/messages", [START, event(20, index=0)], "without `type`"),
}


@pytest.mark.parametrize(("path", "parts", "words"), TORN.values(), ids=TORN.keys())
def test_an_answer_without_its_end_is_an_error(path: str, parts: list[Timed], words: str) -> None:
    """Which names what is missing."""
    with pytest.raises(MeasurementError, match=words):
        timed(path, parts)


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        *(("POST", row.path, row.path) for row in ENDPOINTS),
        ("POST", "/below/v1/messages/", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens", ""),
        ("POST", "/v1/rerank", ""),
        ("GET", "/api/chat", ""),
    ],
)
def test_a_request_is_timed_by_method_and_path(method: str, path: str, wanted: str) -> None:
    """A server may be below a path of its own."""
    row = endpoint_of(method, path)
    assert (row.path if row else "") == wanted


@pytest.mark.parametrize(
    ("method", "path", "control"),
    [
        ("GET", "/", True),
        ("GET", "/api/tags", True),
        ("POST", "/api/show", True),
        ("GET", "/v1/models/x", True),
        ("DELETE", "/v1/models/x", True),
        ("POST", "/api/blobs/sha256:x", True),
        ("POST", "/v1/models/x:generateContent", False),
        ("POST", "/v1/models/x/infer", False),
        ("GET", "/v1/models/x/metrics/of/another", False),
        ("POST", "/x", False),
    ],
)
def test_control_requests_are_known(method: str, path: str, control: bool) -> None:
    """They are not worth naming; what may generate is."""
    assert is_control(method, path) is control


def test_what_was_given_up_before_it_was_sent_is_named_apart() -> None:
    """With its path, but without the query, which may hold a secret."""
    asked = b"POST /v1/responses?key=secret HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    empty = Stream((), 0)
    held = CapturedConnection(empty, empty, first_ns=1, given_up_ns=2, given_up=request_line(asked))
    late = CapturedConnection(Stream((Chunk(1, (), asked, 9),), 5), empty)
    sent = CapturedConnection(Stream((Chunk(1, (), asked, 3),), 5), empty)
    assert [abandoned_of(connection, label="a") for connection in (held, late, sent)] == [
        ["POST /v1/responses"],
        ["POST /v1/responses"],
        [],
    ]
