import json

import httpx
import pytest

from pytest_llmperf.errors import ModelMissingError, ServerError
from pytest_llmperf.model.model_names import same_model
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.clients.server_client import in_common
from pytest_llmperf.servers.processes.server_process import free_port
from tests.servers.conftest import HandEngine, serving

TAGS = {"models": [{"name": "gemma3:latest", "digest": "abc", "size": 5, "details": {"family": "gemma3"}}]}


def control_of(answers, **more):
    """A OllamaClient of a server that gives these answers by path, and the requests that it got."""
    asked = []

    def handle(request):
        asked.append(request)
        answer = answers[request.url.path]
        answer = answer.pop(0) if isinstance(answer, list) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    return OllamaClient("http://h1:1/", label="instance a", transport=httpx.MockTransport(handle), **more), asked


def test_against_the_real_application():
    """Version, lists, show, preload and unload of a running instance."""
    engine = HandEngine()
    with serving(engine) as client, OllamaClient(str(client.base_url)) as control:
        assert control.version() == "0.0.0-hand"
        assert control.answers()
        assert control.find("hand:driven").digest == control.find("HAND:driven").digest == "d" * 64
        assert control.ps() == ()
        control.preload("hand:driven", {"num_ctx": 512}, keep_alive=-1)
        assert control.is_loaded("hand:driven")
        assert control.ps()[0].context_length == 512
        assert control.show("hand:driven")["details"]["family"] == "hand"
        control.unload("hand:driven")
        assert not control.is_loaded("hand:driven")
        with pytest.raises(ModelMissingError, match="does not have model 'x'; it has hand:driven"):
            control.preload("x")


def test_nothing_there():
    """A refused connection names the address and the command that checks it."""
    url = f"http://127.0.0.1:{free_port()}"
    with OllamaClient(url, label="instance b") as control:
        assert not control.answers()
        with pytest.raises(ServerError, match=rf"instance b \({url}\): nothing answers") as caught:
            control.version()
    assert caught.value.next_step.endswith(f"curl {url}/api/version")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>hello</html>"),
        httpx.Response(200, json=["no", "object"]),
        httpx.Response(200, json={"name": "something else"}),
    ],
)
def test_something_that_is_no_ollama(answer):
    """An answer of another kind of server says so."""
    control, _ = control_of({"/api/version": answer})
    with control, pytest.raises(ServerError, match=r"Ollama|no JSON"):
        control.version()


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("torn"), httpx.ConnectTimeout("slow")]
)
def test_transport_failures_are_server_errors(error):
    """No exception of the HTTP library reaches the user."""
    control, _ = control_of({"/api/version": error})
    with control, pytest.raises(ServerError, match="instance a") as caught:
        control.version()
    assert caught.value.next_step


def test_an_error_status_carries_the_server_s_words():
    """With status and path."""
    control, _ = control_of({"/api/generate": httpx.Response(500, json={"error": "out of memory"})})
    with control, pytest.raises(ServerError, match="POST /api/generate answered 500: out of memory"):
        control.preload("gemma3")


def test_a_missing_model_names_those_that_there_are():
    """404 with a model becomes the error that lists the others and says how to get it."""
    missing = httpx.Response(404, json={"error": "model 'x' not found"})
    control, _ = control_of({"/api/show": missing, "/api/tags": TAGS})
    with control, pytest.raises(ModelMissingError, match="it has gemma3:latest") as caught:
        control.show("x")
    assert "ollama pull x" in caught.value.next_step


def test_unload_waits_until_the_model_is_gone():
    """It polls, since the unload happens after the answer."""
    waits = []
    control, asked = control_of(
        {"/api/generate": {"done": True}, "/api/ps": [TAGS, TAGS, {"models": []}]}, sleep=waits.append
    )
    with control:
        control.unload("gemma3")
    assert json.loads(asked[0].content) == {"model": "gemma3", "keep_alive": 0, "stream": False}
    assert len(waits) == 2


def test_a_model_that_does_not_leave_is_an_error():
    """After the stated time."""
    control, _ = control_of({"/api/generate": {"done": True}, "/api/ps": TAGS}, sleep=lambda _: None)
    with control, pytest.raises(ServerError, match="still loaded"):
        control.unload("gemma3", timeout_s=0.01)


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    """An instance is asked directly, whatever the environment says."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with serving(HandEngine()) as client, OllamaClient(str(client.base_url)) as control:
        assert control.answers()


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("gemma3", "gemma3:latest", True),
        ("Gemma3:1B", "gemma3:1b", True),
        ("gemma3", "gemma3:1b", False),
        ("library/gemma3", "gemma3:latest", True),
        ("registry.ollama.ai/library/gemma3", "Library/Gemma3", True),
        ("https://registry.ollama.ai/library/gemma3:1b", "gemma3:1b", True),
        ("me/gemma3", "gemma3", False),
        ("registry.ollama.ai/me/gemma3", "me/gemma3", True),
        ("hf.co/library/gemma3", "gemma3", False),
        ("h:5000/library/gemma3", "h:5000/library/gemma3:latest", True),
    ],
)
def test_same_model(first, second, same):
    """Names are equal as Ollama sees them."""
    assert same_model(first, second) is same


def test_models_in_common():
    """By the names of the first; of very many, too."""
    assert in_common([["A", "b:1", "c"], ["a:latest", "C:latest"], ["c", "a"]]) == ["A", "c"]
    many = [f"m{number}:1" for number in range(20_000)]
    assert in_common([many, many[::-1]]) == many


STATUSES = {
    "401": ({"error": "unauthorized"}, {}, "answered 401: unauthorized", "--llmperf-auth"),
    "403": ({}, {}, "answered 403: no text", "is this client allowed to use the server"),
    "405": ({"detail": "Method Not Allowed"}, {}, "answered 405: Method Not Allowed", "without a path"),
    "413": ({"error": "too large"}, {}, "answered 413: too large", "shorten the prompts"),
    "422": ({"detail": "x"}, {}, "answered 422: x", "change what the message names"),
    "429": ({"error": "slow down"}, {"retry-after": "2"}, r"429: slow down \(retry after 2 s\)", "fewer requests"),
    "499": ({}, {}, "answered 499", "cancelled before the model ran"),
    "500": ({"error": "y" * 300}, {}, "answered 500: y{300}\n", "look at the server's log"),
    "502": ("<html>Bad Gateway</html>", {}, "answered 502: <html>Bad Gateway</html>", "is the server alive"),
    "503": ({"object": "error", "message": "busy"}, {}, "answered 503: busy", "OLLAMA_MAX_QUEUE"),
    "504": ("", {}, "answered 504: no text", "raise its timeout"),
    "308": ("", {"location": "https://o.example/api/generate"}, "308: it redirects", "give https://o.example as"),
}


@pytest.mark.parametrize("status", STATUSES)
def test_refusals_have_the_whole_text_and_a_next_step_of_their_own(status):
    """As for requests that are timed: one table for both."""
    answer, headers, words, step = STATUSES[status]
    more = {"text": answer} if isinstance(answer, str) else {"json": answer}
    control, _ = control_of({"/api/generate": httpx.Response(int(status), headers=headers, **more)})
    with control, pytest.raises(ServerError, match=words) as caught:
        control.preload("m")
    assert step in caught.value.next_step


@pytest.mark.parametrize("status", [200, 400])
def test_a_model_that_generates_nothing_asks_for_another(status):
    """The server's log would not help."""
    control, _ = control_of({"/api/generate": httpx.Response(status, json={"error": '"e5" does not support generate'})})
    with control, pytest.raises(ServerError, match="does not support generate") as caught:
        control.preload("e5")
    assert "name one that does with --llmperf-model" in caught.value.next_step


def test_an_answer_in_lines_is_one_object():
    """Some proxies stream an answer that was requested as one object."""
    text = '{"model": "m", "done": false}\n\n{"done": true, "done_reason": "load"}\n'
    control, _ = control_of({"/api/generate": httpx.Response(200, text=text)})
    with control:
        control.preload("m")
    control, _ = control_of({"/api/generate": httpx.Response(200, text='{"done": false}\n{"error": "no room"}\n')})
    with control, pytest.raises(ServerError, match="no room"):
        control.preload("m")


def test_numbers_may_be_floats():
    """Some servers write every number so."""
    entry = {"name": "m", "size": 5.0, "size_vram": 2e9, "context_length": 4096.0}
    control, _ = control_of({"/api/ps": {"models": [entry, {"name": "n", "size": 5.5}]}})
    with control:
        whole, half = control.ps()
    assert (whole.size_bytes, whole.size_vram_bytes, whole.context_length, half.size_bytes) == (5, 2 * 10**9, 4096, 0)
