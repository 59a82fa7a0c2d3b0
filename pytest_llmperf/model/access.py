"""How a server is reached: names of environment variables and files, never a secret itself."""

from __future__ import annotations

import binascii
import functools
import os
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pytest_llmperf.errors import UsageError
from pytest_llmperf.masking import MASK, has_login, masked, refused, watch
from pytest_llmperf.secret_values import Secret

AUTH_KINDS = ("bearer", "basic")
_HEADER = re.compile(r"[\x20-\x7e]+")
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\])(?::[0-9]{1,5})?")
"""Host and port of an address; an encoded separator makes no host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach a server. It may be stored, shown and sent anywhere: it has only names of variables, no secrets.

    Attributes:
        auth: `bearer:NAME` or `basic:NAME`, where the environment variable NAME has the token, or `user:password`;
            empty = none.
        ca_file: PEM file with the certificates that TLS trusts; empty = the system's certificates.
        proxy: the proxy that requests go through, `http://host:port`; empty = none. Proxies that the environment names
            are never used.
        proxy_auth: the login for the proxy, in the form of `auth`.
    """

    auth: str = ""
    ca_file: str = ""
    proxy: str = ""
    proxy_auth: str = ""

    def __post_init__(self) -> None:
        for auth in (self.auth, self.proxy_auth):
            if name := auth.partition(":")[2]:
                watch(name)

    @property
    def plain(self) -> bool:
        """Whether the server is reached without authorization, CA file and proxy."""
        return not (self.auth or self.ca_file or self.proxy)

    def headers(self) -> dict[bytes, Secret]:
        """The headers of every request to the server; reads secrets from the environment now.

        Raises:
            UsageError: the variable is not set, or its value cannot be a token or `user:password`.
        """
        return {b"Authorization": _credentials(self.auth, "llmperf_auth")} if self.auth else {}

    def proxy_headers(self) -> dict[bytes, Secret]:
        """The headers for the proxy, in every plain request and for each tunnel. Raises as `headers` does."""
        return {b"Proxy-Authorization": _credentials(self.proxy_auth, "llmperf_proxy_auth")} if self.proxy_auth else {}

    def tls(self) -> ssl.SSLContext:
        """The TLS context with the trusted certificates.

        Raises:
            UsageError: `ca_file` is missing or holds no certificates.
        """
        return _context(self.ca_file)

    def check(self) -> None:
        """Raises UsageError if a part of it cannot work, before any request."""
        self.headers()
        self.proxy_headers()
        if self.proxy_auth and not self.proxy:
            raise UsageError(
                "llmperf_proxy_auth is set, but llmperf_proxy is not", next_step="give --llmperf-proxy, too"
            )
        if self.ca_file:
            self.tls()
        if self.proxy:
            self.proxy_address()

    def proxy_address(self) -> tuple[str, int]:
        """Host and port of the proxy.

        Raises:
            UsageError: it is not an http:// address.
        """
        if fault := url_fault(self.proxy):
            raise UsageError(f"llmperf_proxy: {fault}", next_step="give http://host:port")
        parts = urlsplit(self.proxy)
        return parts.hostname or "", parts.port or 80


DIRECT = Access()
"""Nothing special: no authorization, the system's certificates, no proxy."""


def auth_fault(text: str) -> str:
    """The fault of an `auth`, in words that do not repeat it (it may be the secret itself); empty = none."""
    kind, _, name = text.partition(":")
    if kind in AUTH_KINDS and re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        return ""
    return "wanted bearer:NAME or basic:NAME, NAME being the environment variable (in capitals) that holds the secret"


def addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """Servers' addresses; `http://` may be omitted.

    Raises:
        ValueError: some are no addresses; lists every fault.
    """
    urls = tuple(url if ":/" in url else f"http://{url}" for url in texts)
    if faults := [fault for url in urls if (fault := url_fault(url))]:
        raise ValueError("; ".join(faults))
    return urls


def url_fault(url: str) -> str:
    """The fault of a server's address, in words without the parts that may be secret; empty = none."""
    if has_login(url):  # anywhere: after a password with `/`, `?` or `#`, the rest would pass for a path
        return (
            "an address holds a user or password: put them into the environment, see --llmperf-auth and "
            "--llmperf-proxy-auth"
        )
    shown = repr(re.sub(r"\s.*", MASK, refused(url), flags=re.DOTALL))
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.netloc) and parts.port != 0
    except ValueError:  # its text repeats the address
        is_address = False
    if not is_address or re.search(r"[\s\x00-\x1f\x7f]", url):
        return f"{shown} is not an address, wanted http://host:port"
    extra = [name for name in ("query", "fragment") if getattr(parts, name)]
    return f"{shown} has a {' and a '.join(extra)}, wanted http://host:port" if extra else ""


def without_secrets(text: str) -> str:
    """A text without secrets, and without the queries of the addresses in it."""
    return re.sub(r"(://[^?\s,]*)\?[^\s,]*", rf"\1?{MASK}", masked(text))


def shown(url: str) -> str:
    """An address for a public header: the name of a remote host is shortened to its first letter."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        return url
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host[:1]}***{port}"


def _credentials(auth: str, option: str) -> Secret:
    """The value of an authorization header; raises a UsageError that does not repeat it."""
    if fault := auth_fault(auth):
        raise UsageError(f"{option}: {fault}")
    kind, _, name = auth.partition(":")
    # the text is bound to no name here, nor in a Python function: a traceback may show their variables
    if not os.environ.get(name, "").strip():
        raise UsageError(f"{option}: the environment variable {name} is not set", next_step=f"export {name}=...")
    if not _HEADER.fullmatch(os.environ[name].strip()):
        raise UsageError(f"{option}: {name} holds a character that an HTTP header must not have")
    if kind == "bearer":
        return Secret(b"Bearer " + os.environ[name].strip().encode("ascii"))
    if ":" not in os.environ[name]:
        raise UsageError(f"{option}: {name} does not hold user:password", next_step=f"export {name}=user:password")
    return Secret(b"Basic " + binascii.b2a_base64(os.environ[name].strip().encode("ascii"), newline=False))


@functools.cache
def _context(ca_file: str) -> ssl.SSLContext:
    """Created once: it takes some 30 ms, and later turns of a conversation connect while the clock runs."""
    try:
        if ca_file and Path(ca_file).exists() and not Path(ca_file).is_file():
            raise OSError("it is not a plain file")  # reading a FIFO could take forever
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"llmperf_ca: {ca_file} cannot be used ({error})",
            next_step="give a PEM file of the authority's certificate",
        ) from error
