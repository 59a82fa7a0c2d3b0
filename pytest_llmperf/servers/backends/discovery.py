"""Looks for running servers at the usual addresses; each is used or named, none is ignored silently."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from pytest_llmperf.errors import ServerError, UsageError
from pytest_llmperf.masking import has_login
from pytest_llmperf.model.access import shown, url_fault
from pytest_llmperf.net.port_owner import ANY_ADDRESS
from pytest_llmperf.servers.addresses import OWN_HOST, address_of, is_loopback, place_of
from pytest_llmperf.servers.clients.ollama_client import OllamaClient

LOOK_S = 5.0
"""Maximum time to look at one address, s."""

_OLLAMA_PORT = 11434
_HERE = ("", *ANY_ADDRESS, "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The servers at the usual addresses.

    Attributes:
        servers: addresses that answer.
        nowhere: addresses where nothing listens.
        named: whether OLLAMA_HOST names the servers.
    """

    servers: tuple[str, ...]
    nowhere: tuple[str, ...]
    named: bool = False

    @property
    def nothing_at(self) -> str:
        """The addresses where nothing listens, in words."""
        return " and ".join(map(shown, self.nowhere))


def look_around(usual: Sequence[str], environ: Mapping[str, str] = os.environ) -> Seen:
    """Looks at the usual addresses, or at the address in OLLAMA_HOST if it names another machine or port.

    Raises:
        UsageError: OLLAMA_HOST has a login, a query or a fragment, or is not an address.
        ServerError: something listens there and cannot be used, or nothing listens at a remote OLLAMA_HOST.
    """
    named = _named(environ.get("OLLAMA_HOST", ""))
    if named and place_of(named) not in map(place_of, usual):
        if answers_at(named):
            return Seen(servers=(named,), nowhere=(), named=True)
        if not is_loopback(address_of(named)[0]):
            raise ServerError(
                f"OLLAMA_HOST names {shown(named)}, but nothing answers there, and the plugin measures no other server "
                "instead",
                next_step="start it, unset OLLAMA_HOST, or choose what to measure: --llmperf-urls or --llmperf-backend",
            )
    answering = {url: answers_at(url) for url in usual}
    return Seen(
        servers=tuple(url for url, answers in answering.items() if answers),
        nowhere=tuple(url for url, answers in answering.items() if not answers),
    )


def _named(value: str) -> str:
    """Like `host_of`; if the value is not just an address, raises a UsageError that does not repeat it."""
    if has_login(value):
        raise UsageError(
            "OLLAMA_HOST holds a user or password, which would be in every report",
            next_step="remove it there, give the address with --llmperf-urls, and put the login into an environment "
            "variable that --llmperf-auth names",
        )
    named = host_of(value)
    if value.strip().strip("'\"") and (not named or set(value) & set("?#") or url_fault(named)):
        raise UsageError(
            "OLLAMA_HOST is not an address, wanted host:port or http://host:port",
            next_step="correct or unset it, or choose what to measure: --llmperf-urls or --llmperf-backend",
        )
    return named


def answers_at(url: str) -> bool:
    """Whether an Ollama answers at an address; False if nothing listens there.

    Raises:
        ServerError: something listens there and does not answer like an Ollama.
    """
    try:
        with OllamaClient(url, until_s=time.monotonic() + LOOK_S) as control:
            control.version()
    except ServerError as error:
        if isinstance(error.__cause__, httpx.ConnectError):
            return False
        raise ServerError(
            f"something listens at {shown(url)} but cannot be used: {error.args[0]}; the plugin measures no other "
            "server instead",
            next_step="stop it, or choose what to measure: --llmperf-urls (with --llmperf-auth for a login), or "
            "--llmperf-backend=ollama, embedded or simulated",
        ) from error
    return True


def host_of(value: str) -> str:
    """The address that OLLAMA_HOST gives a client, as Ollama reads it; empty if it gives none.

    >>> host_of("gpu1"), host_of("0.0.0.0"), host_of("https://gpu1/x"), host_of(":11500")
    ('http://gpu1:11434', 'http://127.0.0.1:11434', 'https://gpu1:443/x', 'http://127.0.0.1:11500')
    """
    value = value.strip().strip("'\"")
    if not value:
        return ""
    scheme, mark, rest = value.partition("://")
    scheme, rest = (scheme, rest) if mark else ("http", value)
    if rest.count(":") > 1 and "[" not in rest:
        rest = f"[{rest}]"  # an IPv6 address without a port
    default = {"http": 80, "https": 443}.get(scheme, _OLLAMA_PORT) if mark else _OLLAMA_PORT
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, port = parts.hostname or "", default if parts.port is None else parts.port
    except ValueError:
        return ""
    host = OWN_HOST if host in _HERE else f"[{host}]" if ":" in host else host
    url = f"{scheme}://{host}:{port}{parts.path.rstrip('/')}"
    try:
        place_of(url)
    except UsageError:
        return ""
    return url
