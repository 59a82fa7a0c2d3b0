"""The timed path: one HTTP request on a fresh connection; raw bytes with arrival times, almost nothing is parsed.

The request asks the server to close the connection after its answer. To not wait for a server that keeps it open,
`answer_end` checks the last bytes of each read. `runtimes` decide how a connection waits for its socket.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

from pytest_llmperf.errors import MeasurementError, printable
from pytest_llmperf.measure.wire.answer_end import Ending
from pytest_llmperf.measure.wire.arrival import ANCILLARY_BYTES, Clock, Raw, ask_for_kernel_time, settle
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.measure.wire.prepared_request import Request

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Maximum memory for an answer, with its bookkeeping."""

PIECE_BYTES = 512
"""Approximate memory for the bookkeeping of one read: a stream of single bytes must not fill the memory, either."""

CONNECT_S = 10.0
"""Maximum seconds to connect, with TLS; nothing can interrupt this."""

_READ_BYTES = 16384
_HEAD_BYTES = 16384

Address = tuple[int, Any]
"""Family and address of a socket: no name needs to be looked up."""

Receive = Callable[[int, int], tuple[bytes, Any, int, Any]]
"""`socket.recvmsg` or a replacement."""

_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """One request on its own connection: `open`, `send` until True, `receive` until True, `exchange`.

    `send` and `receive` do what they can without waiting, and return whether they have finished; after `block` they
    wait.

    Attributes:
        request: the request to send.
        sock: the socket, for a caller that waits for it; None before `open`.
    """

    __slots__ = (
        "_aborted",
        "_blocking",
        "_clock",
        "_connect_ns",
        "_connected_ns",
        "_deadline_ns",
        "_ended_ns",
        "_ending",
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
        self._aborted = self._blocking = False
        self._send: Callable[[memoryview], int]
        self._recvmsg: Receive
        self._clock = clock
        self._timeout_s = timeout_s
        self._deadline_ns = 0
        self._unsent = memoryview(request.signed())
        self._connect_ns = self._connected_ns = self._sent_ns = self._ended_ns = 0
        self._raw: list[tuple[int, Any, bytes]] = []
        self._room = MAX_ANSWER_BYTES
        self._ending = Ending()

    def open(self, address: Address | None = None) -> Address:
        """Connects, with a TLS handshake for https; waits at most CONNECT_S, or the request's time limit.

        Args:
            address: the address of the host, if it is already known.

        Returns:
            The address.

        Raises:
            MeasurementError: refused, unknown host, untrusted certificate, or no connection in time.
        """
        self._connect_ns = self._clock()
        try:
            address = self._connect([address] if address else _addresses(self.request))
            assert self.sock is not None
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.request.tls:
                if self.request.access.proxy:
                    self._tunnel(self.sock)
                self._shake_hands(self.sock)
            else:
                ask_for_kernel_time(self.sock)
                self._recvmsg = self.sock.recvmsg
            self.sock.setblocking(False)
        except OSError as error:
            self.close()
            raise self._unconnected(error) from error
        self._send = self.sock.send
        self._connected_ns = self._clock()
        return address

    def block(self) -> None:
        """Makes `send` and `receive` wait for the socket."""
        assert self.sock is not None
        self._blocking = True
        if self.request.tls:
            self.sock.settimeout(self._timeout_s)
        else:  # the system's own timeout: Python's would cost a poll for every read
            self.sock.settimeout(None)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self._timeout_s))
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(self._timeout_s))

    def send(self) -> bool:
        """Hands over the rest of the request; False if the socket's buffer is full.

        The time kept is the one before the last hand-over, so that a request never seems to have left too late.

        Raises:
            MeasurementError: reset, or no progress in time.
        """
        if not self._deadline_ns:
            self._deadline_ns = self._clock() + round(self._timeout_s * 1e9)
        while self._unsent:
            sent_ns = self._clock()
            try:
                sent = self._send(self._unsent)
            except OSError as error:
                return self._not_now(error)
            self._sent_ns = sent_ns
            self._unsent = self._unsent[sent:]
        return True

    def receive(self) -> bool:
        """Reads what has arrived; True at the end of the answer.

        Raises:
            MeasurementError: reset, longer than `timeout_s` seconds, or over MAX_ANSWER_BYTES; `received` has the bytes
                that had arrived.
        """
        while True:
            try:
                data, ancillary, _, _ = self._recvmsg(_READ_BYTES, ANCILLARY_BYTES)
            except OSError as error:
                return self._not_now(error)
            read_ns = self._clock()
            if not data:
                self._ended_ns = read_ns
                return True
            self._raw.append((read_ns, ancillary, data))
            self._room -= len(data) + PIECE_BYTES
            if self._room < 0:
                raise self._failed("the answer does not end", "set num_predict on the agent's options")
            if self._ending.add(data):
                self._ended_ns = read_ns
                return True
            if read_ns > self._deadline_ns:
                raise self.failure(TimeoutError())
            if not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
                return False

    def exchange(self, before_ns: int, after_ns: int) -> Exchange:
        """What happened, once `receive` has returned True; see `arrival.settle` for the offsets."""
        pieces, source = settle([Raw(*read) for read in self._raw], before_ns, after_ns)
        return Exchange(
            sent_ns=self._sent_ns,
            pieces=pieces,
            source=source,
            label=self.request.label,
            connect_ns=self._connect_ns,
            connected_ns=self._connected_ns,
            ended_ns=self._ended_ns,
        )

    def abort(self) -> None:
        """Ends the connection, even while a thread opens it or waits for it; for the runtime, if another one failed."""
        self._aborted = True
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the socket; idempotent."""
        if self.sock is not None:
            self.sock.close()

    def failure(self, error: OSError) -> MeasurementError:
        """The error for the end of this connection, with the bytes that had arrived."""
        if isinstance(error, TimeoutError):
            return self._failed(
                f"no complete answer within {self._timeout_s:g} s",
                "look at the server's log, or raise --llmperf-timeout",
            )
        return self._failed(f"the connection failed ({error})", self._is_it_alive(), passing=True)

    def _connect(self, addresses: Iterable[Address]) -> Address:
        """Connects to the first address that answers; sets `sock` before, so that `abort` reaches it."""
        failure = OSError("no address")
        for family, address in addresses:
            if self._aborted:
                raise failure
            self.sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                self.sock.settimeout(min(CONNECT_S, self._timeout_s))
                self.sock.connect(address)
            except OSError as error:
                self.sock.close()
                failure = error
            else:
                return family, address
        raise failure

    def _shake_hands(self, sock: socket.socket) -> None:
        context = self.request.access.tls()
        self.sock = tls = context.wrap_socket(sock, server_hostname=self.request.host, do_handshake_on_connect=False)
        tls.do_handshake()
        self._recvmsg = _read_tls(tls)

    def _tunnel(self, sock: socket.socket) -> None:
        """Makes the proxy connect to the server. Raises OSError if it refuses."""
        sock.sendall(self.request.tunnel())
        head, until_ns = b"", self._clock() + round(min(CONNECT_S, self._timeout_s) * 1e9)
        while not head.endswith(b"\r\n\r\n"):  # byte by byte: what follows is the server's
            if self._clock() > until_ns:
                raise TimeoutError
            if len(head) > _HEAD_BYTES or not (byte := sock.recv(1)):
                break
            head += byte
        status = head.partition(b"\r\n")[0].split(b" ")[1:2]
        if status != [b"200"]:
            where, said = f"{self.request.host}:{self.request.port}", printable(head.decode("latin-1"))[:80]
            raise OSError(f"the proxy {self.request.access.proxy} answered {said!r} to CONNECT {where}")

    def _not_now(self, error: OSError) -> bool:
        """False if the socket is only not ready.

        Raises:
            MeasurementError: the socket is broken, or has timed out in blocking mode.
        """
        if not isinstance(error, _NOT_NOW):
            raise self.failure(error) from error
        if self._blocking:
            raise self.failure(TimeoutError()) from error
        return False

    def _unconnected(self, error: OSError) -> MeasurementError:
        if isinstance(error, TimeoutError):
            limit_s = min(CONNECT_S, self._timeout_s)
            return self._failed(f"no connection within {limit_s:g} s", self._is_it_alive(), passing=True)
        return self.failure(error)

    def _is_it_alive(self) -> str:
        scheme = "https" if self.request.tls else "http"
        path = "/v1/models" if b"/v1/" in self.request.payload.partition(b"\r\n")[0] else "/api/version"
        return f"is the server alive? curl {scheme}://{self.request.host}:{self.request.port}{path}"

    def _failed(self, problem: str, next_step: str, *, passing: bool = False) -> MeasurementError:
        received = b"".join(data for _, _, data in self._raw)
        words = f"{self.request.label}: {problem} after {len(received)} bytes"
        return MeasurementError(words, next_step=next_step, received=received, passing=passing)


def _addresses(request: Request) -> list[Address]:
    """The addresses of the host's name."""
    host, port = request.peer
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in infos]


def _read_tls(sock: ssl.SSLSocket) -> Receive:
    """`recvmsg` for a TLS socket: decrypted bytes have no arrival time."""
    return lambda size, _: (sock.recv(size), (), 0, None)


def _timeval(seconds: float) -> bytes:
    """A `struct timeval`."""
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
