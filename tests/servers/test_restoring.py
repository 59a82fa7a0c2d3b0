import itertools
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from pytest_llmperf.errors import ServerError
from pytest_llmperf.model import Instance
from pytest_llmperf.servers import restoring
from pytest_llmperf.servers.control import Control, ModelEntry
from pytest_llmperf.servers.restoring import Found, seconds_left

INSTANCE = Instance(name="a", url="http://h1:1")
MINE, OTHER = "mine:1", "other:1"


class Server:
    """What an Ollama keeps loaded, with room for one model; notes what it is told."""

    def __init__(self, *loaded: str, refuses: tuple[str, ...] = ()) -> None:
        self.loaded = list(loaded)
        self.refuses = refuses
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
        self.loaded = [] if body.get("keep_alive") == 0 else [body["model"]]
        return httpx.Response(200, json={"done": True})


@pytest.fixture
def served(monkeypatch):
    """`served(*loaded)`: such a server behind every Control."""

    def serve(*loaded: str, **more) -> Server:
        server = Server(*loaded, **more)
        transport = httpx.MockTransport(server.answer)
        monkeypatch.setattr(restoring.Control, "of", classmethod(lambda _, one: Control(one.url, transport=transport)))
        return server

    return serve


def test_what_had_to_leave_is_loaded_again(served):
    """With its context, and for as long as it would have stayed."""
    server = served(OTHER)
    found = Found(INSTANCE, MINE)
    server.loaded = [MINE]
    found.put_back()
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
    found, turns = Found(INSTANCE, MINE), itertools.cycle(servers)
    transport = httpx.MockTransport(lambda request: next(turns).answer(request))
    monkeypatch.setattr(restoring.Control, "of", classmethod(lambda _, one: Control(one.url, transport=transport)))
    for server in servers:
        server.loaded = [MINE]
    found.put_back()
    assert [server.loaded for server in servers] == [[]] * count


def test_what_cannot_be_unloaded_everywhere_is_reported(served, monkeypatch):
    """A server that is only ever seen, and never told."""
    told, seen = served(), Server(MINE)
    found, looks = Found(INSTANCE, MINE), itertools.count()
    transport = httpx.MockTransport(
        lambda request: (seen if request.url.path == "/api/ps" and next(looks) % 2 else told).answer(request)
    )
    monkeypatch.setattr(restoring.Control, "of", classmethod(lambda _, one: Control(one.url, transport=transport)))
    with pytest.raises(ServerError, match=r"instance a \(http://h1:1\): model 'mine:1' may still be loaded") as caught:
        found.put_back()
    assert caught.value.next_step == "unload it on each of them: ollama stop mine:1"


def test_what_would_have_left_anyway_is_not_loaded_again(served):
    """Its time was up while we measured."""
    server = served(OTHER)
    server.leaves = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    found = Found(INSTANCE, MINE)
    server.loaded = []
    found.put_back()
    assert server.told == []


def test_a_model_for_embeddings_is_loaded_in_its_own_way(served):
    """It refuses to generate."""
    server = served(OTHER, refuses=(f"/api/generate {OTHER}",))
    found = Found(INSTANCE, MINE)
    server.loaded = []
    found.put_back()
    assert server.told[-1][0] == "/api/embed"
    assert server.loaded == [OTHER]


def test_what_cannot_be_loaded_again_is_reported(served):
    """Which model, where, and how to load it."""
    server = served(OTHER, refuses=(f"/api/generate {OTHER}", f"/api/embed {OTHER}"))
    found = Found(INSTANCE, MINE)
    server.loaded = [MINE]
    with pytest.raises(ServerError, match=r"instance a \(http://h1:1\) had other:1 loaded when we came") as caught:
        found.put_back()
    assert "does not support that" in str(caught.value)
    assert caught.value.next_step == "load it: ollama run other:1"


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
