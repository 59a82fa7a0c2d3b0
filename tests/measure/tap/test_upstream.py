"""Servers that need TLS or a login: the agent speaks plain HTTP to the tap, and the server gets what it needs."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.external_agents import TapResult, run_tapped
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.upstream import HeadRewriter, Upstream
from pytest_llmperf.model import Access, Script, Settings, TopologyKind
from pytest_llmperf.servers.backends import choose
from tests.servers.relays import certificate, relay

TOKENS = 12
HEADERS = {b"Host": b"models.example:8443", b"Authorization": b"Bearer real"}


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with contextlib.closing(Tap()) as made:
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, str]]:
    """Address and model of a simulated server."""
    script = Script(ttft_ms=20, prefill_tok_s=20_000, decode_tok_s=400, load_ms=1)
    with choose(Settings(backend="simulated", script=script)).open(TopologyKind.SINGLE, 1) as opened:
        yield opened.topology.instances[0].url, opened.topology.model


def run(tap: Tap, url: str, model: str, access: Access, *, times: int = 2) -> TapResult:
    """One agent with `times` requests on one connection, each with a dummy key."""

    async def agent(at_tap: str) -> None:
        assert at_tap.startswith("http://127.0.0.1:")
        headers = {"Authorization": "Bearer dummy"}
        async with httpx.AsyncClient(base_url=at_tap, timeout=30, trust_env=False, headers=headers) as client:
            for _ in range(times):
                body = {"model": model, "prompt": "p", "options": {"num_predict": TOKENS}}
                answer = await client.post("/api/generate", json=body)
                assert answer.status_code == 200

    return run_tapped(
        [Member(label="agent x, instance a", url=url, run=agent, access=access)], tap=tap, model=model, timeout_s=30
    )


def test_a_tls_server_is_timed_by_reads(tap: Tap, server: tuple[str, str], tmp_path: Path) -> None:
    """The requests are measured like others, but without kernel timestamps; a note says so."""
    cert, context = certificate(tmp_path)
    with relay(server[0], tls=context) as url:
        (recording,) = run(tap, url, server[1], Access(ca_file=str(cert))).recordings
    assert [request.eval_count for request in recording.requests] == [TOKENS] * 2
    assert {exchange.source for exchange in recording.exchanges} == {"read"}
    for request in recording.requests:
        assert len(request.arrivals_ns) == TOKENS
        assert request.sent_ns <= request.arrivals_ns[0] <= request.done_ns


@pytest.mark.parametrize("tls", [False, True])
def test_a_server_gets_its_own_login(
    tap: Tap, server: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    """In place of the agent's dummy key, and its own name; the secret is in nothing that was captured."""
    monkeypatch.setenv("MY_TOKEN", "hunter2-and-more")
    cert, context = certificate(tmp_path)
    heard: list[bytes] = []
    with relay(server[0], tls=context if tls else None, heard=heard, needs="Authorization: Bearer hunter2") as url:
        access = Access(auth="bearer:MY_TOKEN", ca_file=str(cert) if tls else "")
        (recording,) = run(tap, url, server[1], access, times=1).recordings
        host = url.rpartition("/")[2].encode()
    assert [request.eval_count for request in recording.requests] == [TOKENS]
    assert b"Host: " + host in heard[0]
    assert b"dummy" not in heard[0]
    assert b"hunter2" not in b"".join(piece.data for exchange in recording.exchanges for piece in exchange.pieces)


def test_the_other_connections_to_a_tls_server_are_not_those_of_the_tap(
    tap: Tap, server: tuple[str, str], tmp_path: Path
) -> None:
    """They share its TLS context, whose sockets stay the usual ones."""
    cert, context = certificate(tmp_path)
    access = Access(ca_file=str(cert))
    with relay(server[0], tls=context) as url:
        tap.open([url], ["agent a"], accesses=[access])
    assert access.tls().sslsocket_class is ssl.SSLSocket


def test_a_certificate_that_is_not_trusted_is_named_before_an_agent_starts(tap: Tap, tmp_path: Path) -> None:
    """With what to give."""
    _, context = certificate(tmp_path)
    with (
        relay("http://127.0.0.1:9", tls=context) as url,
        pytest.raises(MeasurementError, match=r"(?s)agent a: the server's certificate is not trusted.*--llmperf-ca"),
    ):
        tap.open([url], ["agent a"])


def test_a_certificate_that_is_not_trusted_any_more_is_named(tap: Tap, server: tuple[str, str], tmp_path: Path) -> None:
    """A server that got another one after the start: the agent's own error says only that its connection broke."""
    folders = [tmp_path / "old", tmp_path / "new"]
    for folder in folders:
        folder.mkdir()
    (trusted, context), (_, untrusted) = map(certificate, folders)
    served = [context, untrusted]
    with (
        relay(server[0], tls=lambda: served.pop(0) if len(served) > 1 else served[0]) as url,
        pytest.raises(
            MeasurementError,
            match=r"(?s)agent x.*the tap could not connect to https://.*CERTIFICATE_VERIFY_FAILED.*--llmperf-ca",
        ),
    ):
        run(tap, url, server[1], Access(ca_file=str(trusted)))


def test_a_server_that_is_gone_is_named(tap: Tap) -> None:
    """It answered at the start; the agent's own error says only that its connection broke."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        async def agent(at_tap: str) -> None:
            listener.close()
            async with httpx.AsyncClient(base_url=at_tap, trust_env=False) as client:
                await client.post("/api/generate", json={"model": "m", "prompt": "p"})

        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        member = Member(label="agent x, instance a", url=url, run=agent)
        with pytest.raises(MeasurementError, match=rf"(?s)agent x.*could not connect to {url}: .*refused.*log"):
            run_tapped([member], tap=tap, model="m", timeout_s=30)


def test_a_secret_that_is_missing_is_named_before_an_agent_starts(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of its variable."""
    monkeypatch.delenv("NO_TOKEN", raising=False)
    with pytest.raises(UsageError, match="NO_TOKEN is not set"):
        tap.open(["http://127.0.0.1:9"], ["agent a"], accesses=[Access(auth="bearer:NO_TOKEN")])


def test_a_plain_server_without_a_login_gets_what_the_agent_sent() -> None:
    """The tap alters no byte of it."""
    assert Upstream(socket.AF_INET, ("127.0.0.1", 1), "127.0.0.1:1").headers == {}


def plain(path: bytes, body: bytes) -> bytes:
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    return (
        b"POST " + path + b" HTTP/1.1\r\nhost: 127.0.0.1:5\r\nAUTHORIZATION: Bearer dummy\r\nX-A: b\r\n" + length + body
    )


def chunked(path: bytes, body: bytes) -> bytes:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: tap\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x;ext=1\r\n%b\r\n0\r\nX-Trailer: y\r\n\r\n" % (len(body), body)


def rewritten(raw: bytes) -> bytes:
    """What the server must get of one request."""
    head, blank, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].lower() not in (b"host", b"authorization")]
    ours = [name + b": " + value for name, value in HEADERS.items()]
    return b"\r\n".join((first, *ours, *kept)) + blank + body


@given(st.data())
def test_requests_get_their_headers_however_they_are_cut(data: st.DataObject) -> None:
    """Several on one connection, with a length or in chunks; bodies pass as they are, also such as look like heads."""
    bodies = st.sampled_from(
        [b"{}", b"x" * 300, b"POST /y HTTP/1.1\r\nHost: inside\r\n\r\n", b"\r\n\r\n", b"0\r\n\r\n"]
    )
    makers = st.sampled_from([plain, chunked])
    requests = data.draw(st.lists(st.builds(lambda make, body: make(b"/x", body), makers, bodies), max_size=4))
    requests.append(b"GET /api/tags HTTP/1.1\r\nHost: tap\r\n\r\n")
    stream = b"".join(requests)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=20)) | {0, len(stream)})
    rewriter = HeadRewriter(HEADERS)
    sent = b"".join(rewriter.feed(stream[a:b]) for a, b in pairwise(cuts))
    assert sent == b"".join(map(rewritten, requests))


@pytest.mark.parametrize("key", [b"x-api-key", b"API-Key", b"X-Goog-Api-Key"])
def test_a_key_in_another_header_is_a_dummy_too(key: bytes) -> None:
    """It gets the token, goes if the login is a password, and passes to a server without a login."""
    asked = b"POST /v1/messages HTTP/1.1\r\n" + key + b": dummy\r\nContent-Length: 0\r\n\r\n"
    token = HeadRewriter(HEADERS).feed(asked)
    assert b"dummy" not in token
    assert key.lower() + b": real\r\n" in token
    assert b"Authorization: Bearer real\r\n" in token
    password = HeadRewriter({b"Authorization": b"Basic cmVhbA=="}).feed(asked)
    assert key.lower() not in password.lower()
    assert key + b": dummy\r\n" in HeadRewriter({b"Host": b"h"}).feed(asked)


def test_an_offer_to_go_on_in_http_2_is_taken_out() -> None:
    """As Java's client makes it; its next request gets the headers as well."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAE\r\nUpgrade: h2c\r\n"
    first = b"POST /x HTTP/1.1\r\n" + offer + b"Content-Length: 2\r\n\r\n{}"
    sent = HeadRewriter(HEADERS).feed(first + plain(b"/y", b"abc"))
    assert b"h2c" not in sent
    assert b"AAE" not in sent
    assert sent.count(b"Authorization: Bearer real") == 2
    assert sent.endswith(rewritten(plain(b"/y", b"abc")))


@pytest.mark.parametrize(
    "odd",
    [
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\nabc\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\x81\x00\r\n\r\n",
    ],
)
def test_what_is_not_understood_passes(odd: bytes) -> None:
    """Once it is there; no byte of it is lost."""
    assert HeadRewriter(HEADERS).feed(odd) == rewritten(odd)
