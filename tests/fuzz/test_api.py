"""Whatever is sent to our own server's API: an answer of Ollama's shape, never a traceback, never a hang.

`LLMPERF_FUZZ` says how many requests (200; `make fuzz` many more).
"""

import json
import os
import threading

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmperf.model import ENDPOINTS, Script
from pytest_llmperf.servers.emulator.app import create_app
from pytest_llmperf.servers.emulator.scripted_engine import MODEL_NAME, ScriptedEngine

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("LLMPERF_FUZZ", "200"))
FUZZ = settings(
    max_examples=EXAMPLES,
    database=None,
    suppress_health_check=list(HealthCheck),
)
OPTIONS = (
    "num_ctx num_batch num_gpu main_gpu num_thread num_predict seed top_k repeat_last_n num_keep temperature top_p "
    "min_p typical_p repeat_penalty presence_penalty frequency_penalty use_mmap stop nonsense"
).split()
FIELDS = (
    "model name prompt system raw stream options keep_alive messages think tools images format template suffix context "
    "input instructions max_output_tokens tool_choice text max_tokens system stop_sequences encoding_format dimensions "
    "logprobs stream_options max_tokens max_completion_tokens stop temperature seed n response_format reasoning_effort"
).split()

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from([10**400, float("nan"), float("inf"), -0.0])
    | st.sampled_from(["5m", "-1", "-1s", "1e999h", "99999999999h", "0", "ns", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
parts = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "input_text", "tool_use", "tool_result", "thinking"]) | anything},
        optional={"text": st.just("x") | anything, "input": anything, "content": anything, "name": anything},
    ),
    max_size=3,
)
messages = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "system", "assistant", "tool"]) | anything,
            "type": st.sampled_from(["message", "function_call", "function_call_output", "reasoning"]) | anything,
            "content": parts | anything,
            "tool_calls": anything,
            "output": anything,
        },
    )
    | anything,
    max_size=3,
)
schemas = st.recursive(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("type", "enum", "anyOf", "minItems", "const"), anything)),
    lambda inner: st.fixed_dictionaries({"properties": st.dictionaries(st.text(max_size=3), inner, max_size=2)}),
    max_leaves=3,
)
functions = st.fixed_dictionaries({"name": st.just("f") | anything, "parameters": schemas})
tools = st.lists(functions | st.fixed_dictionaries({"function": functions}) | anything, max_size=2)
options = st.dictionaries(st.sampled_from(OPTIONS), anything, max_size=5)
keep_alives = st.sampled_from(["5m", "-1s", "1e9h", "9999999999h", 0, -1, 1e308, 1e20, float("nan"), float("inf")])
wild = st.fixed_dictionaries(
    {"model": st.just(MODEL_NAME) | anything},
    optional={name: anything for name in FIELDS if name != "model"},
)
nearly_right = st.fixed_dictionaries(
    {"model": st.just(MODEL_NAME)},
    optional={
        "prompt": st.sampled_from(["tell me", "\ud800", ""]),
        "messages": messages,
        "input": st.sampled_from(["text", ""]) | messages,
        "max_tokens": st.just(4),
        "tools": tools,
        "tool_choice": st.sampled_from(["auto", "required", "none"]) | anything,
        "format": schemas,
        "options": options,
        "keep_alive": keep_alives,
        "stream": st.booleans(),
    },
)
bodies = nearly_right | wild
GENERATING = tuple(row.path for row in ENDPOINTS)
paths = st.sampled_from([*GENERATING, "/api/show", "/api/ps", "/api/tags", "/api/version", "/v1/models", "/"])


class Time:
    """A clock that whoever waits moves: no answer takes time."""

    def __init__(self) -> None:
        self.now_ns = 0

    def clock(self) -> int:
        return self.now_ns

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now_ns += round(seconds * 1e9)
        return event.is_set()


@pytest.fixture(scope="module")
def server():
    """The application in a thread, on a scripted clock; yields a client of it."""
    from tests.faults.conftest import serving

    time = Time()
    engine = ScriptedEngine(Script(load_ms=0, jitter_pct=0, tool_calls=1), clock=time.clock, wait=time.wait)
    app = create_app(engine, keep_alive_s=float("inf"), clock=time.clock)
    with (
        serving(app) as (port, _),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client,
    ):
        yield client


def assert_well_formed(answer: httpx.Response) -> None:
    """An error is `{"error": text}`, below `/v1` an object with a message; nothing is internal."""
    assert "Traceback" not in answer.text
    assert "internal error" not in answer.text, answer.text
    assert "Internal Server Error" not in answer.text
    if answer.is_error and answer.text:
        anthropic = answer.url.path == "/v1/messages"
        assert list(answer.json()) == (["type", "error"] if anthropic else ["error"])
        error = answer.json()["error"]
        assert isinstance(error["message"] if answer.url.path.startswith("/v1/") else error, str)
        assert answer.status_code in (400, 404, 405, 500, 503)
    if answer.status_code == 200 and answer.headers["content-type"] == "application/x-ndjson":
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert lines[-1].get("done") is True or "error" in lines[-1]
    if answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream":
        *_, last, rest = answer.text.split("\n\n")
        ends = ("event: message_stop", "event: response.completed", "event: response.incomplete")
        assert last == "data: [DONE]" or last.startswith(ends) or '"error":' in last
        assert not rest


@FUZZ
@given(path=st.sampled_from(GENERATING), body=nearly_right)
def test_bodies_that_are_nearly_right(server, path: str, body: dict) -> None:
    """Odd values where they are expected; `/api/ps` still answers."""
    assert_well_formed(server.post(path, content=json.dumps(body).encode()))
    assert_well_formed(server.get("/api/ps"))


@FUZZ
@given(path=paths, method=st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "PUT"]), body=bodies)
def test_bodies_of_json(server, path: str, method: str, body: dict) -> None:
    """Every field of every type."""
    content = json.dumps(body).encode()
    assert_well_formed(server.request(method, path, content=content))
    assert_well_formed(server.get("/api/ps"))


@FUZZ
@given(path=paths, body=st.binary(max_size=200) | st.text(max_size=100).map(str.encode) | st.just(b"[" * 100_000))
def test_bodies_of_bytes(server, path: str, body: bytes) -> None:
    """No JSON at all, or JSON that is nested without end."""
    assert_well_formed(server.post(path, content=body))


@FUZZ
@given(
    path=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
    host=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
)
def test_paths_and_hosts(server, path: str, host: str) -> None:
    """Unknown paths are 404, other machines' names 403."""
    try:
        answer = server.get("/" + path.replace("#", ""), headers={"host": host})
    except (httpx.InvalidURL, httpx.LocalProtocolError, ValueError):
        return
    assert answer.status_code in (200, 400, 403, 404, 405), answer.text
