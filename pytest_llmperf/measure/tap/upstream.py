"""The servers behind the tap: where they are, TLS to them, and the headers that they need.

The tap's process imports this at its start: what only some servers need is imported when there is one.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from pytest_llmperf.model import Access


class Upstream(NamedTuple):
    """A server as the tap's process reaches it; without secrets, so that it may be sent to that process.

    Attributes:
        family, address: address family and address of its socket.
        host: the host of its address, as in the header `Host`.
        tls_name: the name that its certificate must have; empty = no TLS.
        access: its login and its authorities; None if it has neither TLS nor a login.
    """

    family: int
    address: Any
    host: str = ""
    tls_name: str = ""
    access: Access | None = None

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers to set in every request; none for a plain server without a login, whose requests pass unaltered.

        Raises:
            UsageError: the environment lacks the secret.
        """
        if self.access is None:
            return {}
        return {b"Host": self.host.encode("ascii"), **self.access.headers()}


_KEYS = (b"x-api-key", b"api-key", b"x-goog-api-key")
"""Headers in which agents of some SDKs send a key in place of `Authorization`."""

_BEARER = b"Bearer "


class TlsSocket(ssl.SSLSocket):
    """A TLS connection with the few methods of a plain one that the tap needs; its bytes have no kernel stamp."""

    def recvmsg(self, size: int, *_: int) -> tuple[bytes, list[Any], int, Any]:  # type: ignore[override]
        """Like a plain socket's `recvmsg`; returns the available bytes of one record."""
        return self.recv(size), [], 0, None

    def shutdown(self, how: int) -> None:
        """Ends the TCP direction only: the answer that is on its way stays readable."""
        socket.socket.shutdown(self, how)


def secured(sock: socket.socket, upstream: Upstream) -> TlsSocket:
    """The connected socket with TLS, before its handshake."""
    assert upstream.access is not None
    context = upstream.access.tls()
    context.sslsocket_class = TlsSocket
    wrapped = context.wrap_socket(sock, server_hostname=upstream.tls_name, do_handshake_on_connect=False)
    return cast("TlsSocket", wrapped)


class HeadRewriter:
    """Sets headers in each request that an agent sends on one connection; all other bytes pass as they are.

    If a login is set, keys that an agent sends in other headers are dummies, too: each is replaced with the token, or
    removed if the login is not a token. From the first bytes that are not HTTP, everything passes unchanged. An offer
    to upgrade to HTTP/2 (h2c), which Java's client makes in its first request, is removed: the server then answers in
    HTTP/1.1, and later requests get their headers, too.

    Args:
        headers: the headers to set; each replaces headers of the same name.
    """

    def __init__(self, headers: dict[bytes, bytes]) -> None:
        self._headers = headers
        self._names = {name.lower() for name in headers}
        login = headers.get(b"Authorization")
        self._token = login.removeprefix(_BEARER) if login is not None and login.startswith(_BEARER) else b""
        self._keys = frozenset(_KEYS if login is not None else ())
        self._held = b""
        self._body = 0  # bytes until something must be understood
        self._chunked = self._in_trailer = self._passing = False

    def feed(self, data: bytes) -> bytes:
        """The bytes to send now; a head is held back until it is whole."""
        self._held += data
        out = []
        while self._held:
            part = self._next()
            if part is None:
                break
            out.append(part)
        return b"".join(out)

    def _next(self) -> bytes | None:
        """Takes the next part off what is held; None if it is not whole yet."""
        if self._passing or self._body:
            return self._take(len(self._held) if self._passing else self._body)
        if not self._chunked:
            return self._head()
        end = self._held.find(b"\r\n")
        if end < 0:
            return None
        line = self._held[:end]
        if self._in_trailer:
            self._chunked = self._in_trailer = bool(line)
            return self._take(end + 2)
        size = line.partition(b";")[0].strip()
        if not size or size.translate(None, b"0123456789abcdefABCDEF"):
            self._passing = True
            return b""
        taken = self._take(end + 2)
        self._in_trailer = not int(size, 16)
        self._body = 0 if self._in_trailer else int(size, 16) + 2
        return taken

    def _take(self, size: int) -> bytes:
        part, self._held = self._held[:size], self._held[size:]
        self._body = max(0, self._body - len(part))
        return part

    def _head(self) -> bytes | None:
        """The head with its headers set; learns how the body ends."""
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self._take(end + 4)[:-4].split(b"\r\n")
        fields = [(line.partition(b":")[0].strip().lower(), line) for line in lines]
        for name, line in fields:
            value = line.partition(b":")[2].strip()
            if name == b"content-length":
                self._body = int(value) if value.isdigit() else 0
                self._passing = not value.isdigit()
            elif name == b"transfer-encoding":
                self._chunked = True
            elif name == b"upgrade" and value.lower() != b"h2c":
                self._passing = True
        offer = any(name == b"http2-settings" for name, _ in fields)
        gone = self._names | self._keys | ({b"upgrade", b"http2-settings"} if offer else set())
        kept = [line for name, line in fields if name not in gone]
        ours = [name + b": " + value for name, value in self._headers.items()]
        if self._token:
            ours += [name + b": " + self._token for name, _ in fields if name in self._keys]
        return b"\r\n".join((first, *ours, *kept)) + b"\r\n\r\n"
