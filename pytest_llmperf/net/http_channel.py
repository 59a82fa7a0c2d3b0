"""Requests to a server that may be slow, odd or hostile: each has a deadline, and each answer a maximum size.

An HTTP library limits only the time between two reads: it would wait forever for a server that sends a byte now and
then, or endless informational heads. Therefore each request runs in a thread of its own. At the deadline its sockets
are shut and the thread is abandoned, wherever it hangs: in the name lookup, the connection, a proxy, TLS, the head or
the body.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import httpx

from pytest_llmperf.net.server_refusals import WAITS

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Maximum size of an answer that is not timed; lists of many models take some hundred kilobytes."""

MAX_LINE_BYTES = 1024 * 1024
"""Maximum size of a line of a streamed answer."""

_AHEAD = 16  # parts of an answer that are read in advance
_LEAVE_S = 0.5  # for a thread whose sockets are shut to end
_TOLD = ("location", *WAITS)
"""Headers that an answer keeps; a hostile charset or encoding is none of them."""


def _told(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that an answer keeps."""
    return {name: headers[name] for name in _TOLD if name in headers}


class LateError(Exception):
    """The deadline has passed.

    Attributes:
        begun: whether the head of the answer had arrived.
    """

    def __init__(self, *, begun: bool) -> None:
        super().__init__("late")
        self.begun = begun


class TooLargeError(Exception):
    """An answer, or a line of one, exceeds its size; the number of bytes is the argument."""


class PackedError(Exception):
    """An answer is compressed although this was not requested: a few bytes can expand to very many."""


class _AbandonedError(Exception):
    """Inside the thread: the answer is not wanted any more."""


class Channel:
    """Sends requests by an HTTP client, one at a time.

    Args:
        client: the HTTP client, whose own timeouts do not matter; `close` closes it.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._sockets: list[socket.socket] = []

    def whole(self, method: str, path: str, *, within_s: float, **more: Any) -> httpx.Response:
        """The whole answer, whatever its status.

        Args:
            method: the method of the request.
            path: the path of the request.
            within_s: time limit from now to the last byte of the answer, s.
            **more: arguments for the HTTP client: `json`, `content`.

        Raises:
            LateError: the answer is not complete in time.
            TooLargeError: the answer is longer than MAX_BODY_BYTES.
            PackedError: see there.
            httpx.HTTPError, httpx.InvalidURL: the request failed.
        """
        until_s = time.monotonic() + within_s
        with self._flight(method, path, within_s, more) as flight:
            status, headers = flight.head(until_s)
            body = bytearray()
            while (part := flight.part(until_s)) is not None:
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise TooLargeError(MAX_BODY_BYTES)
        return httpx.Response(status, headers=_told(headers), content=bytes(body))

    def lines(self, method: str, path: str, *, quiet_s: float, within_s: float, **more: Any) -> Iterator[str]:
        """The lines of a streamed answer as they arrive; raises if its status is an error.

        Args:
            method: the method of the request.
            path: the path of the request.
            quiet_s: time limit to the next whole line, s.
            within_s: time limit from now to the end, s.
            **more: arguments for the HTTP client.

        Raises:
            httpx.HTTPStatusError: the status is an error or a redirect; with the answer.
            LateError, TooLargeError, PackedError, httpx.HTTPError, httpx.InvalidURL: see `whole`.
        """
        end_s = time.monotonic() + within_s
        with self._flight(method, path, quiet_s, more) as flight:
            until_s = min(end_s, time.monotonic() + quiet_s)
            status, headers = flight.head(until_s)
            rest = b""
            refused = status >= httpx.codes.MULTIPLE_CHOICES
            while (part := flight.part(until_s)) is not None:
                *whole, rest = [rest + part] if refused else (rest + part).split(b"\n")
                if len(rest) > MAX_LINE_BYTES:
                    raise TooLargeError(MAX_LINE_BYTES)
                if whole:
                    until_s = min(end_s, time.monotonic() + quiet_s)
                    yield from (line.decode("utf-8", "replace").removesuffix("\r") for line in whole)
        if refused:
            answer = httpx.Response(status, headers=_told(headers), content=rest)
            raise httpx.HTTPStatusError("", request=httpx.Request(method, self._client.base_url), response=answer)
        if rest:
            yield rest.decode("utf-8", "replace")

    def close(self) -> None:
        """Closes all connections."""
        self._client.close()

    def _flight(self, method: str, path: str, wait_s: float, more: Mapping[str, Any]) -> _Flight:
        """A request whose thread ends by itself, too, soon after it is waited for no more."""
        return _Flight(self._client, self._sockets, (method, path), {"timeout": wait_s + 1.0, **more})


class _Flight:
    """One request under way in a thread of its own; leaving the `with` block ends both."""

    def __init__(
        self, client: httpx.Client, sockets: list[socket.socket], request: tuple[str, str], more: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._sockets = sockets
        self._request = request
        self._more = more
        self._items: queue.Queue[Any] = queue.Queue(maxsize=_AHEAD)
        self._abandoned = threading.Event()
        self._begun = self._whole = False
        self._thread = threading.Thread(target=self._run, name="llmperf-request", daemon=True)

    def __enter__(self) -> _Flight:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._abandoned.set()
        if not self._whole:  # after a whole answer, the thread has nothing left to do
            for sock in list(self._sockets):
                _shut(sock)
        self._thread.join(_LEAVE_S)
        self._sockets[:] = [sock for sock in self._sockets if sock.fileno() >= 0]

    def head(self, until_s: float) -> tuple[int, Mapping[str, str]]:
        """Status and headers of the answer. Raises what the request raised, or LateError."""
        head: tuple[int, Mapping[str, str]] = self._next(until_s)
        self._begun = True
        return head

    def part(self, until_s: float) -> bytes | None:
        """The next part of the answer's body; None at its end. Raises as `head` does."""
        part: bytes | None = self._next(until_s)
        self._whole = part is None
        return part

    def _next(self, until_s: float) -> Any:
        left_s = until_s - time.monotonic()
        try:
            item = self._items.get(timeout=left_s) if left_s > 0 else None
        except queue.Empty:
            left_s = 0
        if left_s <= 0:
            raise LateError(begun=self._begun)
        if isinstance(item, BaseException):
            raise item
        return item

    def _run(self) -> None:
        """In the thread."""
        try:
            with self._client.stream(*self._request, extensions={"trace": self._trace}, **self._more) as response:
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise PackedError
                self._give((response.status_code, response.headers))
                for part in response.iter_bytes():
                    self._give(part)
            self._give(None)
        except _AbandonedError:
            pass
        except BaseException as error:  # raised where the answer is waited for
            with suppress(_AbandonedError):
                self._give(error)

    def _give(self, item: Any) -> None:
        while not self._abandoned.is_set():
            with suppress(queue.Full):
                self._items.put(item, timeout=0.05)
                return
        raise _AbandonedError

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Learns every socket, so that a thread that hangs in one can be woken; see `trace` of HTTPX's extensions."""
        if not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            return
        sock = info["return_value"].get_extra_info("socket")
        if isinstance(sock, socket.socket):
            self._sockets.append(sock)
            if self._abandoned.is_set():  # then other sockets may belong to a later request
                _shut(sock)


def _shut(sock: socket.socket) -> None:
    """Wakes the thread that hangs in a socket; one of TLS, too, without its parting words."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
