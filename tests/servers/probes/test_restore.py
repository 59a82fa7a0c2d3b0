import itertools
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from pytest_llmperf.model import Instance
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.clients.server_client import ModelEntry
from pytest_llmperf.servers.probes import restore
from pytest_llmperf.servers.probes.restore import Effort, Found, seconds_left

INSTANCE = Instance(name="a", url="http://h1:1")
MINE, OTHER = "mine:1", "other:1"


class Server:
    """The loaded models of an Ollama with room for one model; records its requests."""

    def __init__(self, *loaded: str, refuses: tuple[str, ...] = ()) -> None:
        self.loaded = list(loaded)
        self.refuses = refuses
        self.deaf = False
        self.told = []
        self.leaves = (datetime.now(UTC) + timedelta(seconds=100)).isoformat()

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/ps":
            entries = [{"name": name, "context_length": 512, "expires_at": self.leaves} for name in self.loaded]
            return httpx.Response(200, json={"models": entries})
        if request.method == "GET":
            return httpx.Response(200, json={"version": "1", "models": []})
        body = json.loads(request.content)
        self.told.append((request.url.path, body))
        if f"{request.url.path} {body['model']}" in self.refuses:
            return httpx.Response(400, json={"error": "does not support that"})
        if self.deaf:
            return httpx.Response(200, json={"done": True})
        self.loaded = [] if body.get("keep_alive") == 0 else [body["model"]]
        return httpx.Response(200, json={"done": True})


def put_back(before: Found, *, unloaded: bool = False, **effort) -> tuple[str, ...]:
    """What could not be put back."""
    effort = Effort(**effort)
    before.put_back(effort, unloaded=unloaded)
    return effort.undone


def behind_every_control(monkeypatch, transport: httpx.BaseTransport) -> None:
    monkeypatch.setattr(
        restore, "ollama_client_of", lambda instance, **more: OllamaClient(instance.url, transport=transport, **more)
    )


@pytest.fixture
def served(monkeypatch):
    """`served(*loaded)`: such a server behind every OllamaClient."""

    def serve(*loaded: str, **more) -> Server:
        server = Server(*loaded, **more)
        transport = httpx.MockTransport(server.answer)
        monkeypatch.setattr(
            restore,
            "ollama_client_of",
            lambda instance, **more: OllamaClient(instance.url, transport=transport, **more),
        )
        return server

    return serve


def test_what_had_to_leave_is_loaded_again(served):
    """With its context, and for as long as it would have stayed."""
    server = served(OTHER)
    before = Found(INSTANCE, MINE)
    server.loaded = [MINE]
    put_back(before)
    assert server.loaded == [OTHER]
    (_, unload), (path, load) = server.told
    assert (unload["model"], unload["keep_alive"]) == (MINE, 0)
    assert (path, load["model"], load["options"]) == ("/api/generate", OTHER, {"num_ctx": 512})
    assert 90 < load["keep_alive"] <= 100


@pytest.mark.parametrize("count", [2, 3, 4])
def test_what_is_loaded_behind_a_balancer_leaves_every_server(served, monkeypatch, count):
    """Each request goes to the next server, whoever asks."""
    first = served()
    servers = [first, *(Server() for _ in range(count - 1))]
    before, turns = Found(INSTANCE, MINE), itertools.cycle(servers)
    transport = httpx.MockTransport(lambda request: next(turns).answer(request))
    monkeypatch.setattr(
        restore, "ollama_client_of", lambda instance, **more: OllamaClient(instance.url, transport=transport, **more)
    )
    for server in servers:
        server.loaded = [MINE]
    put_back(before)
    assert [server.loaded for server in servers] == [[]] * count


def test_what_cannot_be_unloaded_everywhere_is_reported(served, monkeypatch):
    """A server that is only ever seen, and never told."""
    told, seen = served(), Server(MINE)
    before, looks = Found(INSTANCE, MINE), itertools.count()
    transport = httpx.MockTransport(
        lambda request: (seen if request.url.path == "/api/ps" and next(looks) % 2 else told).answer(request)
    )
    monkeypatch.setattr(
        restore, "ollama_client_of", lambda instance, **more: OllamaClient(instance.url, transport=transport, **more)
    )
    (said,) = put_back(before)
    assert said.startswith("instance a (http://h1:1) was not left as it was found: model 'mine:1' may still be loaded")
    assert said.endswith("next: unload it on each of them: ollama stop mine:1")


def test_what_would_have_left_anyway_is_not_loaded_again(served):
    """Its time was up while we measured."""
    server = served(OTHER)
    server.leaves = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    before = Found(INSTANCE, MINE)
    server.loaded = []
    put_back(before)
    assert server.told == []


def test_a_model_for_embeddings_is_loaded_in_its_own_way(served):
    """It refuses to generate."""
    server = served(OTHER, refuses=(f"/api/generate {OTHER}",))
    before = Found(INSTANCE, MINE)
    server.loaded = []
    put_back(before)
    assert server.told[-1][0] == "/api/embed"
    assert server.loaded == [OTHER]


def test_what_cannot_be_loaded_again_is_reported(served):
    """Which model, where, and how to load it."""
    server = served(OTHER, refuses=(f"/api/generate {OTHER}", f"/api/embed {OTHER}"))
    before = Found(INSTANCE, MINE)
    server.loaded = [MINE]
    (said,) = put_back(before)
    assert "instance a (http://h1:1) had other:1 loaded before the measurement" in said
    assert "does not support that" in said
    assert said.endswith("next: load it: ollama run other:1")


def test_what_we_unloaded_ourselves_is_loaded_again(served):
    """With its own context; a model that was not loaded before stays unloaded."""
    server = served(MINE)
    before = Found(INSTANCE, MINE)
    server.loaded = []
    assert put_back(before, unloaded=True) == ()
    assert server.loaded == [MINE]
    assert server.told[-1][1]["options"] == {"num_ctx": 512}


def test_a_server_that_lies_about_what_it_had_costs_little(served):
    """Only MOST_LOADS models are loaded again; a short note reports the rest."""
    server = served(*(f"m{number}:1" for number in range(10_000)))
    before = Found(INSTANCE, MINE)
    server.loaded = []
    (said,) = put_back(before, most_loads=3)
    assert [body["model"] for _, body in server.told] == ["m0:1", "m1:1", "m2:1"]
    assert "m3:1, m4:1" in said
    assert "and 9987 more" in said
    assert len(said) < 1000


def test_all_servers_share_one_effort(served):
    """The time limit covers all servers; a note lists the undone work on each."""
    server = served(OTHER)
    before = [Found(INSTANCE, MINE) for _ in "ab"]
    server.loaded = []
    effort = Effort(within_s=-1)
    for each in before:
        each.put_back(effort)
    assert server.told == []
    assert len(effort.undone) == 2
    assert all("http://h1:1" in said for said in effort.undone)


def test_a_model_that_will_not_leave_is_told(served):
    """The server ignores keep_alive: 0."""
    server = served()
    before = Found(INSTANCE, MINE)
    server.loaded, server.deaf = [MINE], True
    (said,) = put_back(before, within_s=0.1)
    assert said.startswith("instance a (http://h1:1) was not left as it was found: ")


def refused(_):
    raise httpx.ConnectError("refused")


def dropped(_):
    raise httpx.ReadError("reset")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refused, 0),
        (dropped, 1),
        (lambda _: httpx.Response(502, text="bad gateway"), 1),
        (lambda _: httpx.Response(200, text="["), 1),
        (lambda _: httpx.Response(200, content=b'{"models": ' + b"[" * 50_000), 1),
    ],
)
def test_a_server_that_is_gone_needs_nothing(served, monkeypatch, answer, told):
    """A note reports a server with an odd answer; neither case is a failure."""
    served(OTHER)
    before = Found(INSTANCE, MINE)
    behind_every_control(monkeypatch, httpx.MockTransport(answer))
    assert len(put_back(before)) == told


@pytest.mark.parametrize(
    ("expires_at", "seconds"),
    [
        ("", None),
        ("soon", None),
        ("2026-01-01T00:00:00", None),
        ("0001-01-01T00:00:00Z", None),
        ("2318-01-01T00:00:00.123456789+01:00", -1),
    ],
)
def test_how_long_a_model_would_have_stayed(expires_at, seconds):
    """What the server does not say, or what has passed, is left to its own habit; centuries are for ever."""
    assert seconds_left(ModelEntry(name="m", expires_at=expires_at)) == seconds
