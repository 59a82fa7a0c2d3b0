"""Requests as bytes, made before the clock runs, and the addresses that they go to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.masking import refused
from pytest_llmperf.model import AT_ONCE, DIRECT, Access, Step
from pytest_llmperf.secret_values import Secret

_NEXT = "give http://host:port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prepared request: bytes only, so that nothing is built while the clock runs.

    Attributes:
        host, port: where to connect.
        tls: whether to speak TLS.
        payload: the whole HTTP request without secrets.
        label: for error messages, e.g. `agent insight, instance b (http://127.0.0.1:11435)`.
        access: how the server is reached.
        step: what it waits for before it is sent, and the pauses before and after.
        agent: name of the agent that sends it; empty: none does.
        seat: number of that agent in its scenario; None: not known.
    """

    host: str
    port: int
    tls: bool
    payload: bytes
    label: str
    access: Access = DIRECT
    step: Step = AT_ONCE
    agent: str = ""
    seat: int | None = None

    @property
    def at_barrier(self) -> bool:
        """Whether it leaves when the barrier opens, if it is its client's first."""
        return not self.step.waits_for and not self.step.think_ns

    @property
    def peer(self) -> tuple[str, int]:
        """Host and port that the connection goes to: the server's, or the proxy's."""
        return self.access.proxy_address() if self.access.proxy else (self.host, self.port)

    def signed(self) -> bytes:
        """The bytes to send: the payload with its authorization; a Secret if there is any.

        Raises:
            UsageError: the environment lacks the secret.
        """
        if not (self.access.auth or self.access.proxy_auth):
            return self.payload
        first, _, rest = self.payload.partition(b"\r\n")
        headers = self.access.headers()
        if not self.tls:  # in a tunnel the server would read them
            headers |= self.access.proxy_headers()
        return Secret(b"\r\n".join((first, *_lines(headers), rest)))

    def tunnel(self) -> bytes:
        """The bytes to send to the proxy before TLS: CONNECT with its authorization. Raises as `signed` does."""
        where = f"{_bracketed(self.host)}:{self.port}"
        head = f"CONNECT {where} HTTP/1.1\r\nHost: {where}".encode("ascii")
        return Secret(b"\r\n".join((head, *_lines(self.access.proxy_headers()), b"\r\n")))


class Target(NamedTuple):
    """A server's address, taken apart.

    Attributes:
        tls: whether it is https.
        host: the host in the form for resolvers and TLS: ASCII, an IPv6 address without brackets.
        port: the port; by default the scheme's.
        path: the path without a trailing `/`.
    """

    tls: bool
    host: str
    port: int
    path: str


def target_of(url: str, *, label: str) -> Target:
    """Takes a URL apart.

    Raises:
        MeasurementError: it is not an http or https address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("ascii" if ":" in (parts.hostname or "") else "idna").decode()
        path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
    except ValueError as error:  # a UnicodeError, too
        why = str(error).partition(" as ")[0]  # then comes what was refused
        raise MeasurementError(f"{label}: {refused(url)!r} is not an http address ({why})", next_step=_NEXT) from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise MeasurementError(f"{label}: {refused(url)!r} is not an http address", next_step=_NEXT)
    if "@" in parts.netloc:
        raise MeasurementError(
            f"{label}: the address of {host} holds a user or a password, which would appear in every report",
            next_step="put them into the environment, and name the variable with --llmperf-auth",
        )
    tls = parts.scheme == "https"
    return Target(tls, host, port or (443 if tls else 80), path)


def prepare(url: str, path: str, body: bytes, *, label: str, access: Access = DIRECT) -> Request:
    """The bytes of a POST of JSON to `url + path`.

    Raises:
        MeasurementError: see `target_of`.
    """
    target = target_of(url, label=label)
    host = _bracketed(target.host)
    # a proxy needs the whole address, except through a tunnel, whose content it does not see
    whole = f"http://{host}:{target.port}" if access.proxy and not target.tls else ""
    head = (
        f"POST {whole}{target.path}{path} HTTP/1.1\r\n"
        f"Host: {host}:{target.port}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    payload = head.encode("ascii") + body
    return Request(host=target.host, port=target.port, tls=target.tls, payload=payload, label=label, access=access)


def _bracketed(host: str) -> str:
    """A host as written before a port."""
    return f"[{host}]" if ":" in host else host


def _lines(headers: Mapping[bytes, Secret]) -> list[Secret]:
    """Headers as lines, their ends apart."""
    return [Secret(name + b": " + value) for name, value in headers.items()]
