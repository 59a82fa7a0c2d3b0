"""The timed path: what a request looks like, and how a connection takes its answer."""

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure import wire
from pytest_llmperf.measure.arrival import READ
from pytest_llmperf.measure.request import prepare
from pytest_llmperf.measure.runtimes.threads import ThreadsRuntime
from pytest_llmperf.measure.wire import Connection, expected_source


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


def test_no_http_address_is_refused() -> None:
    """Anything but http and https is an error before a connection is tried."""
    with pytest.raises(MeasurementError, match="no http address"):
        prepare("ftp://h", "/x", b"", label="x")


class Line:
    """Stands for a socket: what a script says happens at each call."""

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
    """Sends, and takes so many reads."""
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
    monkeypatch.setattr(wire, "MAX_ANSWER_BYTES", 10_000)
    connection = connection_on(Line(1000, *[b"x" * size] * 30))
    with pytest.raises(MeasurementError, match="does not end"):
        use(connection, reads=30)


def test_an_unused_connection_can_be_given_up() -> None:
    """Also before it was opened."""
    connection = Connection(prepare("http://h", "/x", b"", label="x"), timeout_s=1)
    connection.abort()
    connection.close()


def test_the_source_is_known_before_anything_is_timed() -> None:
    """TLS hides when bytes arrived; otherwise the system decides."""
    assert expected_source("https://h") == READ
    with socket.socket() as probe:
        assert (expected_source("http://h") == "kernel") == wire.ask_for_kernel_time(probe)


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
    """The answer arrives whole, also beyond one TLS record, and its times are those of the reads."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    wire._tls.cache_clear()
    answer = b"x" * 50_000
    port, thread = serve_tls(certificate, answer)
    request = prepare(f"https://localhost:{port}", "/x", b"{}", label="a")
    (exchange,) = ThreadsRuntime().run([[request]], timeout_s=30).exchanges[0]
    thread.join()
    assert b"".join(piece.data for piece in exchange.pieces) == answer
    assert exchange.source == READ


def test_an_untrusted_certificate_is_an_error(certificate: tuple[Path, Path]) -> None:
    """The message says what is wrong with it."""
    wire._tls.cache_clear()
    port, thread = serve_tls(certificate, b"")
    request = prepare(f"https://localhost:{port}", "/x", b"{}", label="agent a")
    with pytest.raises(MeasurementError, match=r"agent a: the connection failed .*certificate"):
        ThreadsRuntime().run([[request]], timeout_s=30)
    thread.join()
