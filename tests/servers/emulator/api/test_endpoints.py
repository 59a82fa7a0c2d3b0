"""Our own server on every endpoint of the table: our own decoder reads what it writes, with the same counts."""

import base64
import json
import struct
import threading

import httpx
import pytest
from starlette.testclient import TestClient

from pytest_llmperf.measure.decoding.decode import decode
from pytest_llmperf.measure.wire.arrival import Piece
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.model import ENDPOINTS, RequestTiming, Script
from pytest_llmperf.servers.emulator.api.tool_offers import sample
from pytest_llmperf.servers.emulator.app import create_app
from pytest_llmperf.servers.emulator.scripted_engine import MODEL_NAME, ScriptedEngine, count_tokens
from tests.servers.conftest import HandEngine

TOKENS = 6
USER = {"role": "user", "content": "How is the weather?"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOL = {"name": "forecast", "description": "d", "parameters": SCHEMA}
NESTED = [{"type": "function", "function": TOOL}]
FLAT = [{"type": "function", **TOOL}]
ANTHROPIC = [{"name": "forecast", "input_schema": SCHEMA}]
CALL = json.dumps({"name": "forecast", "arguments": {"city": "scripted", "days": 1}})
BODIES: dict[str, dict[str, object]] = {
    "/api/generate": {"prompt": "Once", "options": {"num_predict": TOKENS}},
    "/api/chat": {"messages": [USER], "options": {"num_predict": TOKENS}},
    "/v1/chat/completions": {
        "messages": [USER],
        "max_tokens": TOKENS,
        "stream_options": {"include_usage": True},
    },
    "/v1/completions": {"prompt": "Once", "max_tokens": TOKENS, "stream_options": {"include_usage": True}},
    "/v1/responses": {"input": "How is the weather?", "instructions": "Be short.", "max_output_tokens": TOKENS},
    "/v1/messages": {"messages": [USER], "system": "Be short.", "max_tokens": TOKENS},
    "/api/embed": {"input": ["one", "two words"]},
    "/api/embeddings": {"prompt": "one"},
    "/v1/embeddings": {"input": "two words"},
}
TOOLS = {"/api/chat": NESTED, "/v1/chat/completions": NESTED, "/v1/responses": FLAT, "/v1/messages": ANTHROPIC}
ANSWERED: dict[str, list[dict[str, object]]] = {
    "/api/chat": [
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "forecast", "arguments": {}}}]},
        {"role": "tool", "content": "sunny"},
    ],
    "/v1/chat/completions": [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "forecast", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
    ],
    "/v1/responses": [
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c", "name": "forecast", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "sunny"},
    ],
    "/v1/messages": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "forecast", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "sunny"}]},
    ],
}
"""What a client sends after the call, besides what it sent before."""


class Time:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now_ns = 1

    def clock(self) -> int:
        return self.now_ns

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now_ns += round(seconds * 1e9)
        return event.is_set()


def client_of(**script: float) -> TestClient:
    """A client of the scripted server, in process and without time."""
    time = Time()
    engine = ScriptedEngine(Script(load_ms=0, jitter_pct=0, **script), clock=time.clock, wait=time.wait)
    return TestClient(create_app(engine, clock=time.clock), base_url="http://127.0.0.1")


def asked(client: TestClient, path: str, **fields: object) -> httpx.Response:
    answer = client.post(path, json={"model": MODEL_NAME, **BODIES[path], **fields})
    assert answer.status_code == 200, answer.text
    return answer


def read(answer: httpx.Response) -> RequestTiming:
    """The answer by our own decoder."""
    kind = answer.headers["content-type"]
    raw = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(answer.content)}\r\n\r\n".encode()
    pieces = (Piece(1, 1, raw + answer.content),)
    return decode(Exchange(sent_ns=0, pieces=pieces, source="read", label="x"))


TEXT_PATHS = [row.path for row in ENDPOINTS if not row.embeds]


@pytest.mark.parametrize("path", TEXT_PATHS)
@pytest.mark.parametrize("stream", [True, False])
def test_text_of_every_endpoint(path: str, stream: bool) -> None:
    """Streamed or in one object: the same words, reason and counts."""
    client = client_of()
    got = read(asked(client, path, stream=stream))
    whole = read(asked(client, path, stream=False))
    reason = "stop" if path == "/v1/responses" else "length"  # as Ollama says it
    assert (got.text, got.eval_count, got.done_reason) == (whole.text, TOKENS, reason)
    assert count_tokens(got.text) == TOKENS
    assert got.prompt_eval_count == whole.prompt_eval_count > 0
    assert (got.streamed, len(got.arrivals_ns)) == ((True, TOKENS) if stream else (False, 1))


@pytest.mark.parametrize("path", [row.path for row in ENDPOINTS if row.embeds])
def test_embeddings_of_every_endpoint(path: str) -> None:
    """The same vector for the same text; counts where the endpoint has them."""
    client = client_of()
    answer = asked(client, path)
    assert answer.json() == asked(client, path).json() or "total_duration" in answer.json()
    got = read(answer)
    assert got.embedding
    assert got.prompt_eval_count == {"/api/embed": 3, "/api/embeddings": 0, "/v1/embeddings": 2}[path]


def test_embeddings_in_base64_are_the_same_numbers() -> None:
    """OpenAI's own client asks for them in this form."""
    client = client_of()
    (plain,) = asked(client, "/v1/embeddings").json()["data"]
    (coded,) = asked(client, "/v1/embeddings", encoding_format="base64").json()["data"]
    numbers = struct.unpack(f"<{len(plain['embedding'])}f", base64.b64decode(coded["embedding"]))
    assert numbers == pytest.approx(plain["embedding"], abs=1e-6)


@pytest.mark.parametrize("path", TOOLS)
@pytest.mark.parametrize("stream", [True, False])
def test_a_script_that_calls_tools(path: str, stream: bool) -> None:
    """One call, whose arguments fit the schema; after its result, text. The tokens of the call are counted."""
    client = client_of(tool_calls=1)
    limit = {"options": {}} if path == "/api/chat" else {}
    limits = {"max_tokens": 99} if path.startswith("/v1") else limit
    answer = asked(client, path, tools=TOOLS[path], stream=stream, **{**limits, "max_output_tokens": 99})
    got = read(answer)
    assert (got.text, got.eval_count, len(got.arrivals_ns)) == ("", count_tokens(CALL), 1)
    assert got.wordless_bytes > 0
    assert "forecast" in answer.text
    assert "days" in answer.text
    name = "input" if path == "/v1/responses" else "messages"
    turns = {name: [USER, *ANSWERED[path]]}
    after = read(asked(client, path, tools=TOOLS[path], stream=stream, **turns))
    assert after.eval_count == TOKENS
    assert after.text


def test_calls_go_through_the_tools_in_turn() -> None:
    """The number of calls in the script, then text."""
    client = client_of(tool_calls=2)
    tools = [*NESTED, {"type": "function", "function": {"name": "final_answer", "parameters": {"type": "object"}}}]
    called = []
    messages: list[object] = [USER]
    for _ in range(3):
        message = asked(client, "/api/chat", messages=messages, tools=tools, stream=False, options={}).json()["message"]
        called += [call["function"]["name"] for call in message.get("tool_calls", ())]
        messages += [message, {"role": "tool", "content": "x"}]
    assert called == ["forecast", "final_answer"]


@pytest.mark.parametrize("schema", [{"anyOf": [{"type": "string"}]}, {"enum": [1]}, {"const": None}, {}])
def test_arguments_are_an_object_whatever_the_schema_says(schema: object) -> None:
    """A schema of no object gets an empty one."""
    tools = [{"type": "function", "function": {"name": "odd", "parameters": schema}}]
    answer = asked(client_of(tool_calls=1), "/api/chat", tools=tools, stream=False, options={}).json()
    (call,) = answer["message"]["tool_calls"]
    assert (call["function"]["name"], call["function"]["arguments"]) == ("odd", {})


@pytest.mark.parametrize(
    ("choice", "calls"),
    [
        ("none", False),
        ("auto", False),
        ("required", True),
        ({"type": "function", "function": {"name": "forecast"}}, True),
    ],
)
def test_a_client_may_choose_the_tool(choice: object, calls: bool) -> None:
    """Also where the script would not call any."""
    client = client_of()
    answer = asked(client, "/v1/chat/completions", tools=NESTED, tool_choice=choice, max_tokens=99)
    assert (answer.json()["choices"][0]["finish_reason"] == "tool_calls") is calls


STRUCTURED = {
    "/api/chat": {"format": SCHEMA, "options": {}},
    "/api/generate": {"format": SCHEMA, "options": {}},
    "/v1/chat/completions": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "f", "schema": SCHEMA}},
        "max_tokens": 99,
    },
    "/v1/responses": {"text": {"format": {"type": "json_schema", "schema": SCHEMA}}, "max_output_tokens": 99},
}


@pytest.mark.parametrize("path", STRUCTURED)
def test_structured_output_fits_the_schema(path: str) -> None:
    """Token by token."""
    got = read(asked(client_of(), path, stream=True, **STRUCTURED[path]))
    assert json.loads(got.text) == {"city": "scripted", "days": 1}
    assert len(got.arrivals_ns) == got.eval_count


REFUSED = {
    "no input": ("/v1/responses", {"input": []}, "input: want"),
    "a former answer": ("/v1/responses", {"previous_response_id": "r"}, "keeps no answers"),
    "an image": ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "parts of type"),
    "an unknown item": ("/v1/responses", {"input": [{"type": "mcp_call"}]}, "does not know items"),
    "no limit": ("/v1/messages", {"max_tokens": None}, "max_tokens: field required"),
    "thoughts": ("/v1/messages", {"thinking": {"type": "enabled", "budget_tokens": 5}}, "does not support thinking"),
    "an unknown block": ("/v1/messages", {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "blocks"),
    "an unknown tool": ("/v1/messages", {"tools": ANTHROPIC, "tool_choice": {"type": "tool", "name": "x"}}, "no tool"),
    "a tool without a name": ("/v1/responses", {"tools": [{"type": "function"}]}, "want a function with a name"),
    "a wrong choice": ("/v1/chat/completions", {"tools": NESTED, "tool_choice": "maybe"}, "tool_choice"),
    "tokens": ("/v1/embeddings", {"input": [1, 2]}, "input: want"),
    "dimensions": ("/v1/embeddings", {"dimensions": 3}, "dimensions"),
    "no prompt": ("/api/embeddings", {"prompt": 3}, "prompt: want"),
}


@pytest.mark.parametrize(("path", "fields", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_done_is_said(path: str, fields: dict[str, object], words: str) -> None:
    """400, in the shape that the clients of the path read."""
    answer = client_of().post(path, json={"model": MODEL_NAME, **BODIES[path], **fields})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert words in (error["message"] if path.startswith("/v1") else error)
    assert (answer.json().get("type") == "error") is (path == "/v1/messages")


@pytest.mark.parametrize("path", ["/api/embed", "/api/chat"])
def test_a_model_that_cannot_do_it_says_so(path: str) -> None:
    """A model for text only has neither embeddings nor tools."""
    client = TestClient(create_app(HandEngine()), base_url="http://127.0.0.1")
    answer = client.post(path, json={"model": "hand:driven", **BODIES[path], "tools": NESTED})
    assert answer.status_code == 400
    assert "does not support" in answer.json()["error"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "scripted"),
        ({"enum": [3, 4]}, 3),
        ({"const": None}, None),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, 1.5),
        ({"type": ["boolean", "null"]}, True),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, [1]),
        ({"properties": {"a": {"type": "object", "properties": {"b": True}}}}, {"a": {"b": "scripted"}}),
        ({"type": {"odd": 1}}, "scripted"),
    ],
)
def test_a_value_fits_its_schema(schema: dict[str, object], value: object) -> None:
    """A value of each kind, the same every time."""
    assert sample(schema) == value
