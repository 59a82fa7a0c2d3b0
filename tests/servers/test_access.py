import base64
import logging
import pickle
from dataclasses import asdict, replace

import pytest

from pytest_llmperf.errors import ServerError, UsageError
from pytest_llmperf.model import Access, Script, Settings, TopologyKind
from pytest_llmperf.model.access import auth_fault, shown, url_fault, without_secrets
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.clients.client_factory import client_of
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.processes.server_process import free_port
from tests.servers.relays import certificate, listening, proxy, relay

TOKEN = "s3cret-t0ken"
SIMULATED = Settings(backend="simulated", script=Script(load_ms=0))


@pytest.fixture(scope="module")
def server():
    """A running simulated server."""
    with choose(SIMULATED).open(TopologyKind.SINGLE, 1) as opened:
        yield opened.topology.instances[0].url


@pytest.fixture
def token(monkeypatch) -> str:
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    monkeypatch.setenv("MY_LOGIN", f"me:{TOKEN}")
    return TOKEN


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ("bearer:MY_TOKEN", f"Bearer {TOKEN}"),
        ("basic:MY_LOGIN", f"Basic {base64.b64encode(f'me:{TOKEN}'.encode()).decode()}"),
    ],
)
def test_the_server_is_told_who_asks(server, token, auth, header):
    """Every request that is not timed carries it."""
    heard: list[bytes] = []
    with relay(server, heard=heard) as url, OllamaClient(url, access=Access(auth=auth)) as control:
        control.version()
        control.tags()
    assert f"Authorization: {header}\r\n".lower() in heard[0].decode().lower()


def test_a_secret_is_nowhere(server, token, caplog):
    """Not in what is stored, shown, pickled or logged, nor in an error; the variable's name is, in the header."""
    caplog.set_level(logging.DEBUG)
    settings = Settings(urls=(server,), auth=("bearer:MY_TOKEN",))
    backend = choose(settings)
    assert backend.where == f"{server} (bearer from MY_TOKEN)"
    with backend.open(TopologyKind.SINGLE, 1) as opened:
        topology = opened.topology
        assert topology.instances[0].access.auth == "bearer:MY_TOKEN"
        with client_of(topology.instances[0]) as control, pytest.raises(ServerError) as caught:
            control.preload("no-such-model")
        said = repr((topology, settings, backend.where, backend.reason, control.__dict__, caught.value))
    stored = pickle.dumps(topology) + repr(asdict(topology)).encode()
    assert TOKEN not in said + caplog.text
    assert TOKEN.encode() not in stored


@pytest.mark.parametrize(
    ("auth", "value", "words"),
    [
        ("bearer:MY_TOKEN", None, "the environment variable MY_TOKEN is not set"),
        (f"bearer:{TOKEN}", None, "wanted bearer:NAME"),
        (TOKEN, None, "wanted bearer:NAME"),
        ("bearer:MY_TOKEN", " ", "the environment variable MY_TOKEN is not set"),
        ("bearer:MY_TOKEN", f"{TOKEN}\nX-Evil: 1", "an HTTP header must not have"),
        ("basic:MY_TOKEN", TOKEN, "does not hold user:password"),
    ],
)
def test_a_secret_that_cannot_be_used(auth, value, words, monkeypatch):
    """Found before anything is asked of a server, and said without repeating it."""
    monkeypatch.delenv("MY_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_TOKEN", value)
    with pytest.raises(UsageError, match=words) as caught:
        choose(Settings(urls=("http://127.0.0.1:9",), auth=(auth,)))
    assert TOKEN not in str(caught.value)


def test_one_for_each_server_or_one_for_all(token):
    """Two for three addresses are an error."""
    urls = tuple(f"http://127.0.0.1:{port}" for port in (7, 8, 9))
    with pytest.raises(UsageError, match="llmperf_auth has 2 entries, llmperf_urls has 3"):
        choose(Settings(urls=urls, auth=("bearer:MY_TOKEN",) * 2))


def test_tls_with_a_certificate_of_one_s_own(server, tmp_path):
    """Trusted where its file is given, refused elsewhere; no file, or none of certificates, is an error at once."""
    cert, context = certificate(tmp_path)
    with relay(server, tls=context) as url:
        with OllamaClient(url, access=Access(ca_file=str(cert))) as control:
            assert control.version()
        with OllamaClient(url) as control, pytest.raises(ServerError, match=r"(?i)certificate"):
            control.version()
    (tmp_path / "empty.pem").write_text("")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(UsageError, match=rf"llmperf_ca: .*{name} cannot be used"):
            choose(Settings(urls=(url,), ca_file=str(tmp_path / name)))


def test_through_a_proxy(server, tmp_path):
    """Plain requests by their whole address, TLS through a tunnel; the environment's own proxy is not used."""
    cert, context = certificate(tmp_path)
    heard: list[str] = []
    with relay(server, tls=context) as tls_url, proxy(heard) as address:
        for url in (server, tls_url):
            with OllamaClient(url, access=Access(proxy=address, ca_file=str(cert))) as control:
                assert control.version()
    assert heard == [f"GET {server}/api/version HTTP/1.1", f"CONNECT {tls_url.removeprefix('https://')} HTTP/1.1"]


def test_a_proxy_that_asks_for_a_login(server, token, tmp_path):
    """Plain requests and requests for a tunnel send the login, no others do; without it the error says what to do."""
    cert, context = certificate(tmp_path)
    needs = f"Proxy-Authorization: Basic {base64.b64encode(f'me:{TOKEN}'.encode()).decode()}"
    heard: list[bytes] = []
    with (
        relay(server, heard=heard) as plain_url,
        relay(server, tls=context, heard=heard) as tls_url,
        proxy([], needs=needs) as address,
    ):
        for url in (plain_url, tls_url):
            access = Access(proxy=address, ca_file=str(cert), proxy_auth="basic:MY_LOGIN")
            with OllamaClient(url, access=access) as control:
                assert control.version()
            with (
                OllamaClient(url, access=replace(access, proxy_auth="")) as control,
                pytest.raises(ServerError, match=rf"the proxy {address} refused GET /api/version: 407.*\n.*proxy-auth"),
            ):
                control.version()
            with OllamaClient(url, access=replace(access, proxy_auth="bearer:MY_TOKEN")) as control:
                with pytest.raises(ServerError) as caught:
                    control.version()
                assert TOKEN not in str(caught.value)
    assert len(heard) == 2
    assert b"proxy-authorization" not in b"".join(heard).lower()


def test_a_proxy_that_cannot(server, tmp_path):
    """One that is not there, and one that may not connect: which proxy, and what to look at."""
    gone = f"http://127.0.0.1:{free_port()}"
    answers = f"nothing answers there through the proxy {gone}"
    with OllamaClient(server, access=Access(proxy=gone)) as control, pytest.raises(ServerError, match=answers):
        control.version()
    with listening(lambda client: client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")) as port:
        access = Access(proxy=f"http://127.0.0.1:{port}")
        refused = r"refused GET /api/version: 403 Forbidden\n.*is the proxy allowed to connect"
        with OllamaClient("https://h1.invalid", access=access) as control, pytest.raises(ServerError, match=refused):
            control.version()


def test_the_environment_s_proxy_is_not_used_and_said_so(monkeypatch):
    """Where a server cannot be reached straight, and there is a proxy that might help."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    url = f"http://127.0.0.1:{free_port()}"
    for value, said in (("", False), ("http://127.0.0.1:9", True)):
        monkeypatch.setenv("https_proxy", value)
        with OllamaClient(url) as control, pytest.raises(ServerError) as caught:
            control.version()
        assert ("the environment's proxy is not used: give it with --llmperf-proxy" in str(caught.value)) is said


def test_a_login_at_no_proxy(server, token):
    """It would be told to nobody: an error, before anything is asked."""
    with pytest.raises(UsageError, match="llmperf_proxy_auth is set, but llmperf_proxy is not"):
        choose(Settings(urls=(server,), proxy_auth="basic:MY_LOGIN"))
    with pytest.raises(UsageError, match="llmperf_proxy_auth: the environment variable NONE is not set"):
        choose(Settings(urls=(server,), proxy="http://p", proxy_auth="basic:NONE"))


def test_a_proxy_s_address(server):
    """Shown without its name, checked before anything starts."""
    assert choose(Settings(urls=(server,), proxy="http://proxy.corp:3128")).where.endswith(
        "(through the proxy http://p***:3128)"
    )
    with pytest.raises(UsageError, match=r"llmperf_proxy: .* is not an address"):
        choose(Settings(urls=(server,), proxy="nonsense"))
    assert Access(proxy="http://p").proxy_address() == ("p", 80)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h1:11434", ""),
        ("https://h1/prefix", ""),
        ("http://[::1]:8", ""),
        ("ftp://h1", "is not an address"),
        ("http://", "is not an address"),
        ("http://h1:99999", "is not an address"),
        ("http://h1:x", "is not an address"),
        ("http://[::1", "is not an address"),
        ("http://h1/\r\nX: y", "is not an address"),
        (f"http://me:{TOKEN}@h1", "holds a user or password"),
        (f"http://{TOKEN}@h1", "holds a user or password"),
        (f"http://h1?token={TOKEN}", "has a query"),
    ],
)
def test_addresses(url, words):
    """The fault is named without any part that may be secret."""
    fault = url_fault(url)
    assert (words in fault) if words else not fault
    assert TOKEN not in fault


def test_what_an_authorization_may_be():
    """Kind and variable; a token put there by mistake is not repeated."""
    assert not auth_fault("bearer:MY_TOKEN_2")
    for wrong in ("MY_TOKEN", f"bearer:{TOKEN}", "digest:MY_TOKEN", "bearer:", f"basic:me:{TOKEN}"):
        assert auth_fault(wrong)
        assert TOKEN not in auth_fault(wrong)


def test_what_a_header_shows():
    """Addresses of this machine as they are, of a remote host only the first letter."""
    assert shown("http://127.0.0.1:11434") == "http://127.0.0.1:11434"
    assert shown("https://gpu1.internal:8443/x") == "https://g***:8443"
    assert shown("http://gpu1.internal") == "http://g***"
    assert (
        without_secrets(f"x http://me:{TOKEN}@h1:1/y, http://h2?k={TOKEN} z") == "x http://***@h1:1/y, http://h2?*** z"
    )
    assert Access().plain
    assert not Access(auth="bearer:X").plain
