"""The timed path: what a request looks like, and how a connection takes its answer."""

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.runtimes.thread_runtime import ThreadsRuntime
from pytest_llmperf.measure.wire import request_connection
from pytest_llmperf.measure.wire.arrival import READ, expected_source
from pytest_llmperf.measure.wire.prepared_request import prepare
from pytest_llmperf.measure.wire.request_connection import Connection
from pytest_llmperf.model import access


def test_the_request_is_what_a_server_expects() -> None:
    """A POST of JSON to the path below the base address, on a connection of its own."""
    request = prepare("https://host:8443/ollama/", "/api/chat", b'{"a":1}', label="x")
    assert (request.host, request.port, request.tls) == ("host", 8443, True)
    assert request.payload == (
        b"POST /ollama/api/chat HTTP/1.1\r\nHost: host:8443\r\nContent-Type: application/json\r\n"
        b'Content-Length: 7\r\nConnection: close\r\n\r\n{"a":1}'
    )


@pytest.mark.parametrize(("url", "port"), [("http://h", 80), ("https://h", 443), ("http://[::1]:5", 5)])
def test_default_ports(url: str, port: int) -> None:
    """A URL without a port means the scheme's; an IPv6 address keeps its brackets in the header."""
    request = prepare(url, "/x", b"", label="x")
    assert request.port == port
    assert b"Host: [::1]:5" in request.payload or request.host == "h"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://h", "not an http address"),
        ("http://", "not an http address"),
        ("http://h:0", "not an http address"),
        ("http://h:99999", r"not an http address \(Port out of range"),
        ("http://h:port", r"not an http address \(Port could not be cast"),
        ("http://[::1", r"not an http address \(Invalid IPv6 URL"),
        ("http://a..b", r"not an http address \(.*label"),
        ("http://me:secret@h", "the address of h holds a user or a password"),
    ],
)
def test_an_address_that_cannot_be_timed_is_refused(url: str, words: str) -> None:
    """Before a connection is tried, with what is wrong; a password is not shown."""
    with pytest.raises(MeasurementError, match=f"agent a: .*{words}") as caught:
        prepare(url, "/x", b"", label="agent a")
    assert "secret" not in str(caught.value)
    assert caught.value.next_step


def test_other_alphabets_are_spelt_for_the_network() -> None:
    """A host by its ASCII name, a path by its bytes; what is escaped already stays."""
    request = prepare("http://MÜNCHEN.example/modèles%20/", "/x", b"", label="x")
    assert request.host == "xn--mnchen-3ya.example"
    assert request.payload.startswith(b"POST /mod%C3%A8les%20/x HTTP/1.1\r\nHost: xn--mnchen-3ya.example:80\r\n")


class Line:
    """Replaces a socket; a script states the result of each call."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.sent: list[bytes] = []

    def send(self, data: memoryview) -> int:
        step = self._answers.pop(0)
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, int)
        self.sent.append(bytes(data[:step]))
        return step

    def receive(self, size: int, room: int) -> tuple[bytes, list[object], int, None]:
        step = self._answers.pop(0)
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, bytes)
        return step, [], 0, None


def connection_on(
    line: Line, *, timeout_s: float = 1, blocking: bool = False, ticks: list[int] | None = None
) -> Connection:
    """A connection whose socket is scripted, by a clock that gives these moments."""
    clock = iter(ticks) if ticks else iter(range(1, 1000))
    connection = Connection(prepare("http://h", "/x", b"", label="agent a"), timeout_s=timeout_s, clock=clock.__next__)
    connection._send, connection._recvmsg, connection._blocking = line.send, line.receive, blocking
    return connection


def use(connection: Connection, reads: int = 1) -> None:
    """Sends the request, then takes `reads` reads."""
    connection.send()
    for _ in range(reads):
        connection.receive()


def test_the_send_is_stamped_before_the_last_bytes_are_handed_over() -> None:
    """A full buffer means: not yet; what was sent before it is not sent again."""
    line = Line(10, BlockingIOError(), 1000)
    connection = connection_on(line, ticks=[0, 100, 200, 300])
    assert not connection.send()
    assert connection.send()
    assert connection.exchange(0, 0).sent_ns == 300
    assert b"".join(line.sent) == connection.request.payload


def test_reads_are_stamped_after_them() -> None:
    """Nothing yet, then bytes, then the end; without the kernel's time the read counts."""
    connection = connection_on(Line(1000, BlockingIOError(), b"one", b""), ticks=[0, 1, 50, 60])
    connection.send()
    assert not connection.receive()
    assert not connection.receive()
    assert connection.receive()
    exchange = connection.exchange(0, 0)
    assert exchange.pieces == ((50, 50, b"one"),)
    assert exchange.source == READ


def test_a_trickle_beyond_the_time_is_an_error() -> None:
    """Each read in time, the answer as a whole not."""
    connection = connection_on(Line(1000, b"a", b"b"), timeout_s=1, ticks=[0, 0, 10, 1_000_000_001])
    connection.send()
    assert not connection.receive()
    with pytest.raises(MeasurementError, match=r"no complete answer within 1 s after 2 bytes") as caught:
        connection.receive()
    assert caught.value.received == b"ab"


@pytest.mark.parametrize("step", ["send", "receive"])
def test_a_blocking_socket_that_gives_up_is_an_error(step: str) -> None:
    """The system's own timeout ends a blocking call with nothing done."""
    line = Line(BlockingIOError()) if step == "send" else Line(1000, BlockingIOError())
    connection = connection_on(line, blocking=True)
    with pytest.raises(MeasurementError, match="no complete answer"):
        use(connection)


@pytest.mark.parametrize("step", ["send", "receive"])
def test_a_reset_is_an_error_that_names_the_server(step: str) -> None:
    """A connection that the server resets is named, with the command that looks at it."""
    line = Line(ConnectionResetError("reset")) if step == "send" else Line(1000, ConnectionResetError("reset"))
    connection = connection_on(line)
    with pytest.raises(MeasurementError, match=r"the connection failed .*(?s:.)*curl http://h:80"):
        use(connection)


@pytest.mark.parametrize("size", [1, 4096])
def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """An answer beyond the limit of memory is an error, in large pieces as in single bytes."""
    monkeypatch.setattr(request_connection, "MAX_ANSWER_BYTES", 10_000)
    connection = connection_on(Line(1000, *[b"x" * size] * 30))
    with pytest.raises(MeasurementError, match="does not end"):
        use(connection, reads=30)


def test_a_connection_that_does_not_come_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a limit of its own, however long an answer may take."""
    monkeypatch.setattr(request_connection, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        request = prepare(f"http://127.0.0.1:{full.getsockname()[1]}", "/x", b"", label="agent a")
        connection = Connection(request, timeout_s=600)
        with pytest.raises(MeasurementError, match=r"agent a: no connection within 0\.2 s") as caught:
            connection.open()
    assert caught.value.passing
    assert connection.sock is not None
    assert connection.sock.fileno() == -1


class Dripping:
    """Replaces the socket to a proxy that sends a byte now and then, and never the end of its head."""

    def __init__(self, *_: object) -> None:
        self.received = 0

    def settimeout(self, _: float) -> None: ...

    def setsockopt(self, *_: object) -> None: ...

    def connect(self, _: object) -> None: ...

    def sendall(self, _: bytes) -> None: ...

    def close(self) -> None: ...

    def recv(self, _: int) -> bytes:
        self.received += 1
        assert self.received < 100, "nobody gives up"
        return b"x"


def test_a_proxy_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, the answer to CONNECT does not: one limit holds for all of it."""
    monkeypatch.setattr(request_connection.socket, "socket", Dripping)
    through = prepare("https://h", "/", b"{}", label="agent a", access=access.Access(proxy="http://127.0.0.1:9"))
    times_s = iter(range(0, 1000, 4))
    connection = Connection(through, timeout_s=60, clock=lambda: next(times_s) * 1_000_000_000)
    with pytest.raises(MeasurementError, match="no connection within 10 s"):
        connection.open(None)


def test_a_connection_that_was_given_up_is_not_made() -> None:
    """Not to the next address of its host either."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        request = prepare(f"http://127.0.0.1:{server.getsockname()[1]}", "/x", b"", label="agent a")
        connection = Connection(request, timeout_s=5)
        connection.abort()
        with pytest.raises(MeasurementError, match="agent a: the connection failed"):
            connection.open()
        assert connection.sock is None


def test_a_host_without_an_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown, or with no address at all."""
    connection = Connection(prepare("http://no-such-host.invalid", "/x", b"", label="agent a"), timeout_s=5)
    with pytest.raises(MeasurementError, match="agent a: the connection failed"):
        connection.open()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(MeasurementError, match=r"agent a: the connection failed \(no address\)"):
        connection.open()


def test_of_several_addresses_the_first_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name resolves to a dead address and a living one; the living one is returned for the next turn."""
    with socket.create_server(("127.0.0.1", 0)) as living, socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        names = [(socket.AF_INET, 0, 0, "", sock.getsockname()) for sock in (dead, living)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: names)
        connection = Connection(prepare("http://h", "/x", b"", label="x"), timeout_s=5)
        assert connection.open() == (socket.AF_INET, living.getsockname())
        connection.close()


def test_an_unused_connection_can_be_given_up() -> None:
    """Also before it was opened."""
    connection = Connection(prepare("http://h", "/x", b"", label="x"), timeout_s=1)
    connection.abort()
    connection.close()


def test_the_source_is_known_before_anything_is_timed() -> None:
    """TLS hides when bytes arrived; otherwise the system decides."""
    assert expected_source("https://h") == READ
    with socket.socket() as probe:
        assert (expected_source("http://h") == "kernel") == request_connection.ask_for_kernel_time(probe)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key, made by openssl."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def serve_tls(certificate: tuple[Path, Path], answer: bytes) -> tuple[int, threading.Thread]:
    """One TLS connection with one answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            sock, _ = listener.accept()
            try:
                with context.wrap_socket(sock, server_side=True) as tls:
                    tls.recv(4096)
                    tls.sendall(answer)
            except OSError:
                pass  # a client that does not trust us

    thread = threading.Thread(target=serve)
    thread.start()
    return listener.getsockname()[1], thread


def test_tls_is_spoken_and_timed_by_reads(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer arrives whole, even if it is longer than a TLS record; its times are read times."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    access._context.cache_clear()
    answer = b"x" * 50_000
    port, thread = serve_tls(certificate, answer)
    request = prepare(f"https://localhost:{port}", "/x", b"{}", label="a")
    (exchange,) = ThreadsRuntime().run([[request]], timeout_s=30).exchanges[0]
    thread.join()
    assert b"".join(piece.data for piece in exchange.pieces) == answer
    assert exchange.source == READ


def test_an_untrusted_certificate_is_an_error(certificate: tuple[Path, Path]) -> None:
    """The message says what is wrong with it."""
    access._context.cache_clear()
    port, thread = serve_tls(certificate, b"")
    request = prepare(f"https://localhost:{port}", "/x", b"{}", label="agent a")
    with pytest.raises(MeasurementError, match=r"agent a: the connection failed .*certificate"):
        ThreadsRuntime().run([[request]], timeout_s=30)
    thread.join()
