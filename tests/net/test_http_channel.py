"""Servers that are slow, odd or hostile: every request ends by its deadline, every answer has its size."""

import itertools
import json
import socket
import threading
import time

import httpx
import pytest

from pytest_llmperf.errors import ModelMissingError, ServerError, UnreachableError
from pytest_llmperf.model import Access
from pytest_llmperf.net import http_channel
from pytest_llmperf.net.http_channel import MAX_LINE_BYTES
from pytest_llmperf.servers import provision
from pytest_llmperf.servers.clients import control_client
from pytest_llmperf.servers.clients.control_client import ControlClient
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.clients.openai_client import OpenAIClient
from tests.servers.relays import certificate, listening, relay

OK = b"HTTP/1.1 200 OK\r\n"
PAUSE_S = 0.002


def asked(client: socket.socket) -> None:
    """Reads a request's head; raises ConnectionError if the client leaves before its end."""
    head = b""
    while b"\r\n\r\n" not in head:
        if not (piece := client.recv(65536)):
            raise ConnectionError
        head += piece


def drips(*first: bytes, again: bytes, pause_s: float = PAUSE_S):
    """A server that sends these, then the last ones again and again until its client is gone."""

    def handle(client: socket.socket) -> None:
        asked(client)
        for piece in itertools.chain(first, itertools.repeat(again)):
            client.sendall(piece)
            time.sleep(pause_s)

    return handle


def says_nothing(client: socket.socket) -> None:
    while client.recv(65536):
        pass


ENDLESS = {
    "informational heads": drips(again=b"HTTP/1.1 100 Continue\r\n\r\n"),
    "informational heads at once": drips(again=b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 50, pause_s=0),
    "a head in drops": drips(OK, b"X: ", again=b"x", pause_s=0.0005),
    "headers without end, slowly": drips(OK, again=b"X-A: b\r\n", pause_s=0.005),
    "a status line in drops": drips(again=b"H", pause_s=0.005),
    "a body in drops": drips(OK, b"Content-Length: 100000\r\n\r\n", again=b" "),
    "chunks in drops": drips(OK, b"Transfer-Encoding: chunked\r\n\r\n", again=b"1\r\n \r\n"),
    "a chunk's size in drops": drips(OK, b"Transfer-Encoding: chunked\r\n\r\n1;", again=b"x"),
    "a body until it closes": drips(OK, b"\r\n", again=b" "),
    "nothing at all": says_nothing,
}
CALLS = {
    "version": OllamaClient.version,
    "tags": OllamaClient.tags,
    "ps": OllamaClient.ps,
    "show": lambda control: control.show("m"),
    "preload": lambda control: control.preload("m"),
    "unload": lambda control: control.unload("m"),
    "models": OpenAIClient.tags,
    "pull": lambda control: provision.pull(control, "m", lambda _: None),
}


@pytest.fixture
def soon(monkeypatch):
    """Deadlines that pass at once."""
    monkeypatch.setattr(control_client, "_QUICK_S", 0.05)
    monkeypatch.setattr(provision, "_QUIET_S", 0.05)


def client_of(call: str, url: str, **more) -> ControlClient:
    return (OpenAIClient if call == "models" else OllamaClient)(url, timeout_s=0.05, **more)


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_does_not_end_is_left_at_the_deadline(soon, kind):
    """However it does not end; the thread that asked ends, too."""
    with listening(ENDLESS[kind]) as port, client_of("version", f"http://127.0.0.1:{port}") as control:
        with pytest.raises(UnreachableError, match=r"GET /api/version.* within 0\.05 s|failed .*"):
            control.version()
        assert [thread for thread in threading.enumerate() if thread.name == "llmperf-request"] == []


@pytest.mark.parametrize("call", CALLS)
def test_every_request_has_a_deadline(soon, call):
    """Whatever is asked, of either API."""
    with (
        listening(ENDLESS["informational heads"]) as port,
        client_of(call, f"http://127.0.0.1:{port}") as control,
        pytest.raises(UnreachableError, match=r"no answer to .* within 0\.05 s"),
    ):
        CALLS[call](control)


def test_tls_and_proxies_have_the_same_deadline(soon, tmp_path):
    """A handshake that never begins, a tunnel that is never made, and drops inside TLS."""
    cert, context = certificate(tmp_path)
    with (
        listening(says_nothing) as silent,
        listening(ENDLESS["informational heads"]) as dripping,
        relay(f"http://127.0.0.1:{dripping}", tls=context) as inside,
    ):
        ways = [
            (f"https://127.0.0.1:{silent}", Access(ca_file=str(cert))),
            (inside, Access(ca_file=str(cert))),
            (f"https://127.0.0.1:{silent}", Access(ca_file=str(cert), proxy=f"http://127.0.0.1:{silent}")),
            (f"https://127.0.0.1:{silent}", Access(ca_file=str(cert), proxy=f"http://127.0.0.1:{dripping}")),
            (f"http://127.0.0.1:{silent}", Access(proxy=f"http://127.0.0.1:{dripping}")),
        ]
        for url, access in ways:
            with client_of("version", url, access=access) as control, pytest.raises(UnreachableError):
                control.version()


def test_a_name_that_is_looked_up_for_ever(soon, monkeypatch):
    """The deadline holds before there is a socket."""
    end = threading.Event()
    monkeypatch.setattr(http_channel, "_LEAVE_S", 0)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: end.wait(20) and [])
    with client_of("version", "http://slow.example:11434") as control, pytest.raises(UnreachableError):
        control.version()
    end.set()


def test_a_request_after_one_that_was_left_is_a_new_one(soon):
    """On a connection of its own."""
    turns = itertools.count()

    def handle(client: socket.socket) -> None:
        if next(turns) == 0:
            return says_nothing(client)
        asked(client)
        client.sendall(OK + b'Content-Length: 16\r\n\r\n{"version": "1"}')

        return None

    with listening(handle) as port, OllamaClient(f"http://127.0.0.1:{port}") as control:
        with pytest.raises(UnreachableError):
            control.version()
        assert control.send("GET", "/api/version", within_s=20).json() == {"version": "1"}


def test_a_request_that_was_left_disturbs_no_later_one(soon, monkeypatch):
    """Its thread may connect only after it was given up: then that connection ends, and no other."""
    later, connected = threading.Event(), threading.Event()
    usual = socket.create_connection
    turns = itertools.count()

    def connect(*more, **names):
        if next(turns) == 0:
            later.wait(20)
            sock = usual(*more, **names)
            connected.set()
            return sock
        return usual(*more, **names)

    def handle(client: socket.socket) -> None:
        asked(client)
        later.set()  # now the abandoned thread connects, learns that it was given up, and ends
        connected.wait(20)
        first[0].join(20)
        client.sendall(OK + b'Content-Length: 16\r\n\r\n{"version": "1"}')

    monkeypatch.setattr(http_channel, "_LEAVE_S", 0)
    monkeypatch.setattr(socket, "create_connection", connect)
    with listening(handle) as port, OllamaClient(f"http://127.0.0.1:{port}") as control:
        with pytest.raises(UnreachableError):
            control.version()
        first = [thread for thread in threading.enumerate() if thread.name == "llmperf-request"]
        assert control.send("GET", "/api/version", within_s=20).json() == {"version": "1"}
        assert not first[0].is_alive()


def answered(
    content: bytes, *, status: int = 200, api: type[OllamaClient] = OllamaClient, **headers: str
) -> OllamaClient:
    """A client of a server that answers everything with this."""
    answer = httpx.MockTransport(lambda _: httpx.Response(status, content=content, headers=headers))
    return api("http://127.0.0.1:1", transport=answer)


DEEP = b'{"version": ' * 100_000
HOSTILE = {
    "deep": DEEP,
    "deep and whole": b'{"models": ' + b"[" * 900 + b"]" * 900 + b"}",
    "a long number": b'{"version": ' + b"9" * 100_000 + b"}",
    "no text": b"\xff\xfe\x00",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("call", [name for name in CALLS if name != "pull"])
def test_no_answer_is_an_internal_error(kind, call):
    """Each is a ServerError, in a screenful."""
    api = OpenAIClient if call == "models" else OllamaClient
    with answered(HOSTILE[kind], api=api) as control, pytest.raises(ServerError) as caught:
        CALLS[call](control)
    assert len(str(caught.value)) < 3000


def test_a_pull_of_deep_lines():
    """The same for lines."""
    with answered(DEEP[: MAX_LINE_BYTES // 2]) as control, pytest.raises(ServerError, match="not a JSON object"):
        provision.pull(control, "m", lambda _: None)


@pytest.mark.parametrize("charset", ["hex", "zip", "idna", "utf-7", "x" * 1000])
def test_a_hostile_charset_is_none(charset):
    """JSON is UTF-8."""
    with answered(b'{"version": "1"}', **{"content-type": f"application/json; charset={charset}"}) as control:
        assert control.version() == "1"


@pytest.mark.parametrize("status", [200, 500])
def test_lines_without_end(status, monkeypatch):
    """Neither a line nor an error's text fills the memory."""
    monkeypatch.setattr(http_channel, "MAX_LINE_BYTES", 100_000)
    body = itertools.repeat(b"x" * 9999 + (b"\n" if status == 500 else b""))
    answer = httpx.MockTransport(lambda _: httpx.Response(status, content=body))
    with (
        OllamaClient("http://127.0.0.1:1", transport=answer) as control,
        pytest.raises(ServerError, match="more than 100000"),
    ):
        provision.pull(control, "m", lambda _: None)


def test_a_pull_that_says_the_same_for_ever():
    """It does not move: the end, and what it said."""
    body = itertools.repeat(b'{"status": "pulling a", "total": 5, "completed": 1}\n')
    answer = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    ticks = itertools.count(step=10)
    words = "pulling a, without any progress for 300 s"
    with OllamaClient("http://127.0.0.1:1", transport=answer) as control, pytest.raises(ServerError, match=words):
        provision.pull(control, "m", lambda _: None, clock=lambda: next(ticks))


@pytest.mark.parametrize("api", [OllamaClient, OpenAIClient])
def test_thousands_of_models_are_a_short_error(api):
    """The first names, and how many more there are."""
    names = [f"model-{number}-{'x' * (300 if number < 20 else 0)}" for number in range(5_000)]
    body = {"data" if api is OpenAIClient else "models": [{"name": name, "id": name} for name in names]}
    with answered(json.dumps(body).encode(), api=api) as control, pytest.raises(ModelMissingError) as caught:
        control.find("mine")
    assert "and 4990 more" in str(caught.value)
    assert len(str(caught.value)) < 4000


def test_an_odd_head_is_a_short_error():
    """What the HTTP library quotes of it is cut."""
    with (
        listening(drips(OK, b"X" * 50_000 + b"\r\n\r\n", again=b" ")) as port,
        OllamaClient(f"http://127.0.0.1:{port}") as control,
        pytest.raises(ServerError) as caught,
    ):
        control.version()
    assert len(str(caught.value)) < 1000
