import json
import socket

import pytest

from pytest_llmperf.servers.emulator.engine import EngineError
from tests.servers.conftest import HandEngine, serving

GENERATE = {"model": "hand:driven", "prompt": "Once"}


def lines(response):
    return [json.loads(line) for line in response.text.splitlines()]


def wait_for(client, condition):
    """Polls /api/ps until the condition holds; pytest's own limit ends a loop that never does."""
    for _ in range(2000):
        models = client.get("/api/ps").json()["models"]
        if condition(models):
            return models
    raise AssertionError(f"still {models}")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_says_that_it_runs(client, method):
    """Health checks of existing tools work."""
    response = client.request(method, "/")
    assert response.status_code == 200
    assert response.text == ("Ollama is running" if method == "GET" else "")


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/api/nope", 404, "404 page not found: GET /api/nope; this server has /api/version, "),
        ("POST", "/api/pull", 404, "404 page not found: POST /api/pull; "),
        ("GET", "/api/generate", 405, "405 method not allowed: GET /api/generate; "),
    ],
)
def test_unknown_paths_and_methods(client, method, path, status, words):
    """404 and 405 in the words of Ollama's router, with the requested path and the existing ones."""
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(words)
    assert "/v1/chat/completions" in answer.json()["error"]


def test_streamed_answers_are_lines_of_json(client):
    """A line for each piece, the last with done, reason and durations in integer nanoseconds."""
    response = client.post("/api/generate", json=GENERATE)
    assert response.headers["content-type"] == "application/x-ndjson"
    *pieces, last = lines(response)
    assert [piece["response"] for piece in pieces] == ["one", " two"]
    assert not any(piece["done"] for piece in pieces)
    assert last["done"]
    assert last["done_reason"] == "stop"
    assert last["response"] == ""
    counts = {key: last[key] for key in ("prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration")}
    assert counts == {"prompt_eval_count": 3, "prompt_eval_duration": 5, "eval_count": 2, "eval_duration": 11}
    assert all(isinstance(last[key], int) for key in ("total_duration", "load_duration"))
    assert last["total_duration"] >= last["load_duration"] > 0


def test_unstreamed_answers_are_one_object(client):
    """The pieces joined, with the same figures."""
    whole = client.post("/api/generate", json={**GENERATE, "stream": False})
    assert whole.headers["content-type"].startswith("application/json")
    assert whole.json()["response"] == "one two"
    assert whole.json()["eval_count"] == 2


def test_figures_that_are_zero_are_left_out(hand):
    """As Ollama does: a missing key means 0."""
    hand.answer = ("",)
    with serving(hand, clock=lambda: 5) as client:
        last = lines(client.post("/api/generate", json=GENERATE))[-1]
    assert last["done"]
    assert not {"total_duration", "load_duration"} & set(last)


def test_chat_carries_messages(client):
    """Pieces and whole as messages of the assistant."""
    body = {"model": "hand:driven", "messages": [{"role": "user", "content": "Hi"}]}
    pieces = lines(client.post("/api/chat", json=body))
    assert pieces[0]["message"] == {"role": "assistant", "content": "one"}
    whole = client.post("/api/chat", json={**body, "stream": False}).json()
    assert whole["message"] == {"role": "assistant", "content": "one two"}


def test_num_predict_is_capped_at_ten_contexts(client, hand):
    """Unlimited and excessive lengths become ten contexts."""
    for wanted in (-1, 0, -2, 10**9, None):
        client.post("/api/generate", json={**GENERATE, "options": {"num_ctx": 100, "num_predict": wanted}})
    client.post("/api/generate", json={**GENERATE, "options": {"num_ctx": 100, "num_predict": 5}})
    assert [job.sampling.num_predict for job in hand.jobs] == [1000] * 5 + [5]


def test_preload_and_unload(client, hand):
    """An empty prompt loads, and with keep_alive 0 unloads; both say which, with no durations."""
    loaded = client.post("/api/generate", json={"model": "hand:driven", "keep_alive": -1}).json()
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    assert "total_duration" not in loaded
    (entry,) = client.get("/api/ps").json()["models"]
    assert entry["context_length"] == 4096
    assert entry["expires_at"] > "2300"
    unloaded = client.post("/api/chat", json={"model": "hand:driven", "keep_alive": 0, "stream": False}).json()
    assert unloaded["done_reason"] == "unload"
    wait_for(client, lambda models: not models)
    assert hand.events == ["load", "unload"]


def test_unloading_what_is_not_loaded_loads_nothing(client, hand):
    """An unload of an unloaded model is answered at once."""
    assert client.post("/api/generate", json={"model": "hand:driven", "keep_alive": 0}).status_code == 200
    assert hand.events == []


def test_a_prompt_with_keep_alive_0_leaves_nothing_loaded(client, hand):
    """It is answered, then the model goes."""
    assert lines(client.post("/api/generate", json={**GENERATE, "keep_alive": 0}))[-1]["done_reason"] == "stop"
    wait_for(client, lambda models: not models)


def test_an_unknown_model(client):
    """404 with the requested name, at every endpoint that takes a model."""
    for path in ("/api/generate", "/api/chat", "/api/show"):
        response = client.post(path, json={"model": "llama9"})
        assert response.status_code == 404
        assert response.json() == {"error": "model 'llama9' not found"}


def test_wrong_requests_are_refused(client):
    """400, and 500 for a wrong option, each with an error text; nothing is loaded for them."""
    for content in (b"", b"{", b"[]", b'{"model": 3}', b"{}"):
        response = client.post("/api/generate", content=content)
        assert response.status_code == 400
        assert response.json()["error"]
    wrong = client.post("/api/generate", json={**GENERATE, "options": {"num_ctx": "big"}})
    assert (wrong.status_code, wrong.json()) == (500, {"error": 'option "num_ctx" must be of type integer'})
    assert client.get("/api/ps").json() == {"models": []}


def test_an_error_before_the_first_piece_has_its_status(client, hand):
    """A prompt that the engine refuses is a 400, streamed or not."""
    hand.early_error = EngineError("too long", status=400)
    for stream in (True, False):
        response = client.post("/api/generate", json={**GENERATE, "stream": stream})
        assert (response.status_code, response.json()) == (400, {"error": "too long"})


@pytest.mark.parametrize("error", [EngineError("engine broke"), RuntimeError("library broke")])
def test_an_error_in_the_middle_is_the_last_line(client, hand, error):
    """The status is 200 by then; the stream ends with an error line and no done; the server lives on."""
    hand.late_error = error
    *_, last = lines(client.post("/api/generate", json=GENERATE))
    assert str(error) in last["error"]
    assert "done" not in last
    hand.late_error = None
    assert lines(client.post("/api/generate", json=GENERATE))[-1]["done"]


def test_a_failed_load_is_500(client, hand):
    """With the engine's words."""
    hand.load_error = EngineError("no memory")
    response = client.post("/api/generate", json=GENERATE)
    assert (response.status_code, response.json()) == (500, {"error": "no memory"})


def start(client, prompt, **more):
    """Sends a request on a raw socket and does not read."""
    url = client.base_url
    body = json.dumps({**GENERATE, "prompt": prompt, **more}).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.create_connection((url.host, url.port), timeout=20)
    connection.sendall(head.encode() + body)
    return connection


def read_all(connection):
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_one_slot_is_first_come_first_served(client, hand):
    """Requests run strictly in the order in which they came; waiting shows in total_duration only."""
    hand.let_end.clear()
    connections = [start(client, "p0")]
    hand.wait_running()
    for number in range(1, 5):
        connections.append(start(client, f"p{number}"))
        wait_for_users(client, number + 1)
    hand.let_end.set()
    answers = [read_all(connection) for connection in connections]
    assert [event for event in hand.events if event.startswith("begin")] == [f"begin p{n}" for n in range(5)]
    last = json.loads(answers[-1].split(b"\r\n\r\n", 1)[1].split(b"\r\n")[-4])
    assert last["done"]
    assert last["total_duration"] > last["load_duration"]


def wait_for_users(client, count):
    """Waits until `count` requests have the model or wait for its slot."""
    for _ in range(2000):
        if client.app_users() == count:
            return
        client.get("/")
    raise AssertionError(f"never {count} users")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(client, hand, stream):
    """The generation is cancelled and the next request runs, without waiting for the abandoned one's end."""
    hand.let_end.clear()
    gone = start(client, "gone", stream=stream)
    hand.wait_running()
    waiting = start(client, "next")
    wait_for_users(client, 2)
    gone.close()
    hand.wait_running()
    hand.let_end.set()
    assert b'"done":true' in read_all(waiting)
    assert hand.events == ["load", "begin gone", "cancel gone", "begin next", "end next"]


def test_a_client_that_leaves_the_queue_is_not_served(client, hand):
    """Who hangs up while waiting for a slot never runs."""
    hand.let_end.clear()
    first = start(client, "first")
    hand.wait_running()
    leaver = start(client, "leaver")
    wait_for_users(client, 2)
    leaver.close()
    wait_for_users(client, 1)
    hand.let_end.set()
    assert b'"done":true' in read_all(first)
    client.post("/api/generate", json={**GENERATE, "prompt": "last"})
    assert "begin leaver" not in hand.events
    assert "end last" in hand.events


def test_two_slots_run_two_at_once():
    """Two requests run at once on two slots."""
    engine = HandEngine(slots=2)
    with serving(engine) as client:
        engine.let_end.clear()
        both = [start(client, "a"), start(client, "b")]
        engine.wait_running()
        engine.wait_running()
        engine.let_end.set()
        assert all(b'"done":true' in read_all(connection) for connection in both)
    assert engine.events[:3] in (["load", "begin a", "begin b"], ["load", "begin b", "begin a"])


def test_too_many_waiting_for_a_load_is_503(hand):
    """Ollama's status and text."""
    hand.let_load.clear()
    with serving(hand, max_queue=0) as client:
        first = start(client, "first")
        assert hand.loading.acquire(timeout=20)
        response = client.post("/api/generate", json=GENERATE)
        hand.let_load.set()
        assert b'"done":true' in read_all(first)
    assert response.status_code == 503
    assert response.json()["error"] == "server busy, please try again.  maximum pending requests exceeded"


def test_tags_show_and_ps_describe_the_model(client):
    """The fields that clients read are there."""
    (entry,) = client.get("/api/tags").json()["models"]
    assert entry["name"] == entry["model"] == "hand:driven"
    assert entry["details"]["quantization_level"] == "none"
    assert {"size", "digest", "modified_at"} <= set(entry)
    shown = client.post("/api/show", json={"model": "HAND:driven"}).json()
    assert shown["capabilities"] == ["completion"]
    assert shown["model_info"]["hand.context_length"] == 8192
    assert client.get("/api/version").json() == {"version": "0.0.0-hand"}
    client.post("/api/generate", json=GENERATE)
    (running,) = client.get("/api/ps").json()["models"]
    assert {"expires_at", "size_vram", "context_length", "digest", "size"} <= set(running)
