"""The timed path: one HTTP request on a fresh connection, raw bytes with their arrival times, nothing parsed.

The request asks the server to close the connection after its answer, so that the end of the answer is the end of
the connection and no framing has to be understood while the clock runs. How a connection waits for its socket (an event
loop, a thread, a process of its own) is the business of `runtimes`.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.arrival import (
    ANCILLARY_BYTES,
    KERNEL,
    READ,
    Clock,
    Piece,
    Raw,
    ask_for_kernel_time,
    settle,
)

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Most memory that an answer may take, its bookkeeping included."""

PIECE_BYTES = 512
"""What the bookkeeping of one read takes, about: a stream of single bytes must not fill the memory either."""

_READ_BYTES = 16384
Receive = Callable[[int, int], tuple[bytes, Any, int, Any]]
"""`socket.recvmsg` or what stands for it."""

_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prepared request: bytes only, so that nothing is built while the clock runs.

    Attributes:
        host, port: where to connect.
        tls: whether to speak TLS.
        payload: the whole HTTP request.
        label: for error messages, e.g. `agent insight, instance b (http://127.0.0.1:11435)`.
    """

    host: str
    port: int
    tls: bool
    payload: bytes
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What happened on the wire.

    Attributes:
        sent_ns: the moment the request's last bytes were handed to the system.
        pieces: as they arrived.
        source: `kernel` or `read`, see `arrival`.
        label: of the request.
    """

    sent_ns: int
    pieces: tuple[Piece, ...]
    source: str
    label: str


def prepare(url: str, path: str, body: bytes, *, label: str) -> Request:
    """The bytes of a POST of JSON to `url + path`.

    Raises:
        MeasurementError: the URL is not http or https with a host.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MeasurementError(f"{label}: {url!r} is no http address", next_step="give http://host:port")
    tls = parts.scheme == "https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port or (443 if tls else 80)
    head = (
        f"POST {parts.path.rstrip('/')}{path} HTTP/1.1\r\n"
        f"Host: {host}:{port}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return Request(host=parts.hostname, port=port, tls=tls, payload=head.encode("ascii") + body, label=label)


class Connection:
    """One request on its own connection: `open`, `send` until True, `receive` until True, `exchange`.

    Works on a blocking and on a non-blocking socket: `send` and `receive` do what can be done now, and return whether
    that was all.

    Attributes:
        request: what is sent.
        sock: the connected socket, for who waits on it; None before `open`.
    """

    __slots__ = (
        "_blocking",
        "_clock",
        "_deadline_ns",
        "_raw",
        "_recvmsg",
        "_room",
        "_send",
        "_sent_ns",
        "_timeout_s",
        "_unsent",
        "request",
        "sock",
    )

    def __init__(self, request: Request, *, timeout_s: float, clock: Clock = time.monotonic_ns) -> None:
        self.request = request
        self.sock: socket.socket | None = None
        self._blocking = False
        self._send: Callable[[memoryview], int]
        self._recvmsg: Receive
        self._clock = clock
        self._timeout_s = timeout_s
        self._deadline_ns = 0
        self._unsent = memoryview(request.payload)
        self._sent_ns = 0
        self._raw: list[tuple[int, Any, bytes]] = []
        self._room = MAX_ANSWER_BYTES

    def open(self, *, blocking: bool) -> None:
        """Connects, and shakes hands where TLS is asked for; waits at most `timeout_s` seconds.

        Raises:
            MeasurementError: refused, unknown host, untrusted certificate, or no answer in time.
        """
        request = self.request
        try:
            sock = socket.create_connection((request.host, request.port), timeout=self._timeout_s)
        except OSError as error:
            raise self.failure(error) from error
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if request.tls:
                sock = _tls().wrap_socket(sock, server_hostname=request.host)
                self._recvmsg = _read_tls(sock)
            else:
                ask_for_kernel_time(sock)
                self._recvmsg = sock.recvmsg
            if not blocking:
                sock.setblocking(False)
            elif not request.tls:  # the system's own timeout: Python's would cost a poll for every read
                sock.settimeout(None)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self._timeout_s))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(self._timeout_s))
        except OSError as error:
            sock.close()
            raise self.failure(error) from error
        self.sock, self._send, self._blocking = sock, sock.send, blocking

    def send(self) -> bool:
        """Hands over what is left of the request; False where the socket's buffer is full.

        The moment noted is that before the last hand-over: a request is never said to have left later than it did.

        Raises:
            MeasurementError: reset, or no progress in time.
        """
        if not self._deadline_ns:
            self._deadline_ns = self._clock() + round(self._timeout_s * 1e9)
        while self._unsent:
            sent_ns = self._clock()
            try:
                sent = self._send(self._unsent)
            except _NOT_NOW as error:
                if self._blocking:
                    raise self.failure(TimeoutError()) from error
                return False
            except OSError as error:
                raise self.failure(error) from error
            self._sent_ns = sent_ns
            self._unsent = self._unsent[sent:]
        return True

    def receive(self) -> bool:
        """Takes what has arrived; True at the end of the answer.

        Raises:
            MeasurementError: reset, longer than `timeout_s` seconds, or over MAX_ANSWER_BYTES; `received` holds what
                had arrived.
        """
        while True:
            try:
                data, ancillary, _, _ = self._recvmsg(_READ_BYTES, ANCILLARY_BYTES)
            except _NOT_NOW as error:
                if self._blocking:
                    raise self.failure(TimeoutError()) from error
                return False
            except OSError as error:
                raise self.failure(error) from error
            read_ns = self._clock()
            self._raw.append((read_ns, ancillary, data))
            if not data:
                return True
            self._room -= len(data) + PIECE_BYTES
            if self._room < 0:
                raise self._failed("the answer does not end", "set num_predict on the agent's options")
            if read_ns > self._deadline_ns:
                raise self.failure(TimeoutError())
            if not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
                return False

    def exchange(self, before_ns: int, after_ns: int) -> Exchange:
        """What happened, once `receive` said True; see `arrival.settle` for the offsets."""
        pieces, source = settle([Raw(*one) for one in self._raw], before_ns, after_ns)
        return Exchange(sent_ns=self._sent_ns, pieces=pieces, source=source, label=self.request.label)

    def abort(self) -> None:
        """Ends the connection, also one that a thread waits on; for the runtime, when another one has failed."""
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Gives the socket back; idempotent."""
        if self.sock is not None:
            self.sock.close()

    def failure(self, error: OSError) -> MeasurementError:
        """The error for the end of this connection, with the bytes that had arrived."""
        if isinstance(error, TimeoutError):
            return self._failed(
                f"no complete answer within {self._timeout_s:g} s",
                "look at the server's log, or raise --llmperf-timeout",
            )
        scheme = "https" if self.request.tls else "http"
        return self._failed(
            f"the connection failed ({error})",
            f"is the server alive? curl {scheme}://{self.request.host}:{self.request.port}/api/version",
            passing=True,
        )

    def _failed(self, what: str, next_step: str, *, passing: bool = False) -> MeasurementError:
        received = b"".join(one[2] for one in self._raw)
        words = f"{self.request.label}: {what} after {len(received)} bytes"
        return MeasurementError(words, next_step=next_step, received=received, passing=passing)


@functools.cache
def _tls() -> ssl.SSLContext:
    """Made once: it takes some 30 ms, and later turns connect while the clock runs."""
    return ssl.create_default_context()


def _read_tls(sock: ssl.SSLSocket) -> Receive:
    """`recvmsg` of a TLS socket: the bytes are decrypted, so there is no arrival time of theirs."""
    return lambda size, _: (sock.recv(size), (), 0, None)


def _timeval(seconds: float) -> bytes:
    """A `struct timeval`."""
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))


def expected_source(url: str) -> str:
    """The source of arrival times that an address will have here: KERNEL, or READ over TLS and on other systems."""
    with socket.socket() as probe:
        return KERNEL if not url.startswith("https:") and ask_for_kernel_time(probe) else READ
