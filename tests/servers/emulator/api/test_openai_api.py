"""OpenAI's API of our own server: the answers that its clients read, and the errors that tell them what is wrong."""

import json
import threading
import time

import httpx
import pytest
from starlette.testclient import TestClient

from pytest_llmperf.model import Agent, GenerationOptions, Scenario, Script, Settings, TopologyKind
from pytest_llmperf.servers.emulator.app import create_app
from pytest_llmperf.servers.emulator.engine import EngineError
from pytest_llmperf.servers.emulator.faults.fault_plan import Fault, FaultPlan
from pytest_llmperf.servers.emulator.faults.faulty_instance import FaultyInstance
from pytest_llmperf.servers.emulator.scripted_engine import MODEL_NAME, ScriptedEngine
from pytest_llmperf.session.session import Session
from tests.faults.conftest import serving as app_serving
from tests.servers.conftest import CARD, HandEngine, serving

MODEL = "hand:driven"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Once"}]}
TEXT = {"model": MODEL, "prompt": "Once"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CHAT_PATH, TEXT_PATH = "/v1/chat/completions", "/v1/completions"


@pytest.fixture
def client(hand) -> TestClient:
    """The application over `hand`, without a socket."""
    return in_process(hand)


def in_process(engine, **more: object) -> TestClient:
    """A client of the application over this engine; each answer is read whole."""
    return TestClient(create_app(engine, **more), base_url="http://127.0.0.1")


def events(answer: httpx.Response) -> list[str]:
    """The data of each event of a stream."""
    assert answer.headers["content-type"] == "text/event-stream"
    *whole, rest = answer.text.split("\n\n")
    assert rest == ""
    assert all(event.startswith("data: ") and "\n" not in event for event in whole)
    return [event.removeprefix("data: ") for event in whole]


def asked(hand: HandEngine, client: httpx.Client, path: str = CHAT_PATH, **fields: object) -> object:
    """The sampling that a request with these fields becomes."""
    answer = client.post(path, json={**(CHAT if path == CHAT_PATH else TEXT), **fields})
    assert answer.status_code == 200, answer.text
    return hand.jobs[-1].sampling


def test_a_chat_in_one_object(client) -> None:
    """Id, reason, text and usage where clients look for them."""
    answer = client.post(CHAT_PATH, json=CHAT).json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == MODEL
    assert answer["id"].startswith("chatcmpl-")
    assert isinstance(answer["created"], int)
    message = {"role": "assistant", "content": "one two"}
    assert answer["choices"] == [{"index": 0, "message": message, "finish_reason": "stop"}]
    assert answer["usage"] == USAGE


@pytest.mark.parametrize("usage", [True, False])
def test_a_streamed_chat(client, usage) -> None:
    """The role once, a chunk per piece, a chunk with the reason, the usage if requested, and `[DONE]`."""
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": usage}}
    *chunks, done = events(client.post(CHAT_PATH, json=body))
    assert done == "[DONE]"
    chunks = [json.loads(chunk) for chunk in chunks]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": "one"},
        {"content": " two"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]
    assert [chunk["usage"] for chunk in chunks if "usage" in chunk] == ([USAGE] if usage else [])
    assert (chunks[-1]["choices"] == []) is usage


def test_completions(client) -> None:
    """Text in place of messages, in one object and streamed; without `stream_options`, no usage."""
    whole = client.post(TEXT_PATH, json=TEXT).json()
    assert whole["object"] == "text_completion"
    assert whole["choices"] == [{"index": 0, "text": "one two", "finish_reason": "stop"}]
    assert whole["usage"] == USAGE
    *chunks, done = events(client.post(TEXT_PATH, json={**TEXT, "stream": True}))
    assert done == "[DONE]"
    assert [json.loads(chunk)["choices"][0]["text"] for chunk in chunks] == ["one", " two", ""]
    assert "usage" not in chunks[-1]


def test_models(client) -> None:
    """The one model, in the list and by its name in any spelling; another one is not found."""
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    (entry,) = listed["data"]
    assert (entry["id"], entry["object"], entry["created"]) == (MODEL, "model", 1767225600)
    for name in (MODEL, "library/Hand:driven", "registry.ollama.ai/library/hand:driven"):
        assert client.get(f"/v1/models/{name}").json() == entry
    missing = client.get("/v1/models/nobody/has:it")
    assert (missing.status_code, missing.json()["error"]["message"]) == (404, "model 'nobody/has:it' not found")


def test_what_a_request_asks_for(client, hand) -> None:
    """OpenAI's names and defaults, of which Ollama sets temperature and top_p."""
    usual = asked(hand, client)
    assert (usual.temperature, usual.top_p, usual.seed, usual.stop) == (1.0, 1.0, -1, ())
    assert usual.num_predict == 10 * 4096
    assert asked(hand, client, max_tokens=7).num_predict == 7
    assert asked(hand, client, max_tokens=7, max_completion_tokens=8).num_predict == 8
    assert asked(hand, client, TEXT_PATH, max_tokens=-1).num_predict == 10 * 4096
    some = asked(hand, client, temperature=0, top_p=0.5, seed=3, frequency_penalty=1, presence_penalty=2, stop="x")
    assert (some.temperature, some.top_p, some.seed) == (0.0, 0.5, 3)
    assert (some.frequency_penalty, some.presence_penalty, some.stop) == (1.0, 2.0, ("x",))
    assert asked(hand, client, TEXT_PATH, stop=["x", "y"]).stop == ("x", "y")


def test_fields_that_change_nothing_are_taken(client, hand) -> None:
    """Null for any of them, what names the sender, and what asks for the usual."""
    fields = (*"tools logprobs logit_bias stop seed max_tokens stream_options response_format temperature".split(),)
    asked(hand, client, **dict.fromkeys(fields))
    asked(hand, client, user="me", n=1, tools=[], logprobs=False, response_format={"type": "text"}, store=True)
    asked(hand, client, reasoning_effort="none", parallel_tool_calls=True, metadata={"a": "b"})


def test_messages_in_parts(client, hand) -> None:
    """Parts of text become one text; `developer` is OpenAI's newer word for `system`."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked(hand, client, messages=[{"role": "developer", "content": "be"}, {"role": "user", "content": parts}])
    assert [(message.role, message.content) for message in hand.jobs[-1].messages] == [("system", "be"), ("user", "ab")]


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        (CHAT_PATH, {"messages": []}, "messages: want"),
        (CHAT_PATH, {"messages": "hello"}, "messages: want"),
        (CHAT_PATH, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "type text only"),
        (CHAT_PATH, {"messages": [{"role": "nobody", "content": ""}]}, "invalid role 'nobody'"),
        (CHAT_PATH, {"tools": [{"type": "function"}]}, "does not support tools"),
        (CHAT_PATH, {"n": 2}, "gives one answer"),
        (CHAT_PATH, {"response_format": {"type": "json_object"}}, "writes text only"),
        (CHAT_PATH, {"reasoning_effort": "high"}, "does not support thinking"),
        (CHAT_PATH, {"max_tokens": "many"}, 'option "max_tokens" must be of type integer'),
        (CHAT_PATH, {"max_completion_tokens": 0}, "max_completion_tokens: want at least 1"),
        (CHAT_PATH, {"temperature": "hot"}, 'option "temperature" must be of type float32'),
        (CHAT_PATH, {"stop": 3}, "stop: want"),
        (CHAT_PATH, {"stream_options": 3}, "stream_options: want an object"),
        (TEXT_PATH, {"prompt": ""}, "prompt: want"),
        (TEXT_PATH, {"prompt": ["a", "b"]}, "prompt: want"),
        (TEXT_PATH, {"echo": True}, "echo is not supported"),
    ],
)
def test_what_cannot_be_done_is_an_error_of_the_client(client, hand, path, fields, words) -> None:
    """400 with OpenAI's object, before anything is loaded."""
    answer = client.post(path, json={**(CHAT if path == CHAT_PATH else TEXT), **fields})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert words in error["message"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)
    assert hand.events == []


@pytest.mark.parametrize(
    ("request_", "status", "kind", "words"),
    [
        (("POST", CHAT_PATH, b"{"), 400, "invalid_request_error", "invalid JSON"),
        (("POST", CHAT_PATH, b'{"model": "other", "messages": []}'), 404, "not_found_error", "model 'other' not found"),
        (("POST", "/v1/rerank", b"{}"), 404, "not_found_error", "404 page not found: POST /v1/rerank; this"),
        (("POST", "/v1/audio/speech", b"{}"), 404, "not_found_error", "/v1/audio/speech"),
        (("GET", TEXT_PATH, b""), 405, "invalid_request_error", "405 method not allowed: GET /v1/completions"),
    ],
)
def test_errors_of_requests(client, request_, status, kind, words) -> None:
    """OpenAI's object; an unknown path is named."""
    method, path, content = request_
    answer = client.request(method, path, content=content)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert words in answer.json()["error"]["message"]


def test_errors_of_the_engine(client, hand) -> None:
    """With their status before the first piece, as an event after it; nothing says `[DONE]` then."""
    hand.late_error = RuntimeError("out of memory")
    *pieces, error = events(client.post(CHAT_PATH, json={**CHAT, "stream": True}))
    assert [json.loads(piece)["choices"][0]["delta"]["content"] for piece in pieces] == ["one"]
    assert "out of memory" in json.loads(error)["error"]["message"]
    hand.early_error = EngineError("too long", status=400)
    answer = client.post(CHAT_PATH, json={**CHAT, "stream": True})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "too long")


def test_a_client_that_goes_away_ends_its_generation(hand) -> None:
    """As at Ollama's endpoints: the engine stops, and the slot is free for the next request."""
    hand.let_end.clear()
    with serving(hand) as client:
        with client.stream("POST", CHAT_PATH, json={**CHAT, "stream": True}) as answer:
            next(answer.iter_lines())
        hand.wait_running()
        assert client.post(CHAT_PATH, json={**CHAT, "messages": []}).status_code == 400
        while "cancel " not in hand.events:
            time.sleep(0.001)


def test_a_template_of_the_model() -> None:
    """A completion's prompt becomes a chat where the model has a template, as Ollama does."""
    hand = HandEngine(template="{{ x }}")
    assert CARD.template == ""
    in_process(hand).post(TEXT_PATH, json=TEXT)
    assert [message.content for message in hand.jobs[0].messages] == ["Once"]


@pytest.mark.parametrize(
    ("fault", "status", "last"),
    [
        (Fault(kind="error_line", after_tokens=1, message="worn out"), 200, '"message":"worn out"'),
        (Fault(kind="garbage", after_tokens=1, message="<html>"), 200, "data: <html>\n\n"),
        (Fault(kind="status", status=503), 503, '"message":"server busy'),
        (Fault(kind="no_done", after_tokens=1), 200, '"finish_reason":null'),
    ],
)
def test_faults_on_demand_speak_it_too(fault, status, last) -> None:
    """What spoils an answer is written as that answer is."""

    def wait(event: threading.Event, seconds: float) -> bool:
        return event.is_set()

    engine = ScriptedEngine(Script(load_ms=0), wait=wait, plan=FaultPlan(faults=(fault,)), instance="a")
    app_faults = FaultyInstance(engine, host=None)
    body = {"model": MODEL_NAME, "messages": CHAT["messages"], "max_tokens": 3, "stream": True}
    answer = in_process(engine, faults=app_faults).post(CHAT_PATH, json=body)
    assert answer.status_code == status
    assert last in answer.text
    assert "[DONE]" not in answer.text


def test_a_simulated_server_is_never_mistaken_for_a_real_one(tmp_path) -> None:
    """Attached by the OpenAI-compatible API, too: it says what it is, and its answers are measured as they are."""
    agent = Agent(name="x", prompts=("tell me more",), options=GenerationOptions(num_predict=8, seed=1))
    with app_serving(create_app(ScriptedEngine(Script(ttft_ms=1, load_ms=0, decode_tok_s=2000)))) as (port, _):
        urls = (f"http://127.0.0.1:{port}/v1",)
        settings = Settings(backend="openai", urls=urls, min_rounds=2, max_rounds=2, calibrate=False, telemetry_s=0)
        session = Session(settings, root=tmp_path)
        scenario = Scenario(name="alone", agents=(agent,))
        measurement = session.measure(scenario, TopologyKind.SINGLE, test="t").measurement
        session.close()
    assert measurement.topology.simulated
    assert measurement.manifest.facts["engine"] == "scripted (simulated)"
    (request,) = (measurement.rounds or measurement.discarded)[0].together[0].requests
    assert (request.eval_count, request.done_reason) == (8, "length")
    assert len(request.text.split()) == 8
