"""Addresses of servers, and when two of them are one."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import Topology
from pytest_llmperf.servers.control import same_model

OWN_HOST = "127.0.0.1"


def address_of(url: str) -> tuple[str, int]:
    """Host and port; every way to write the own machine is one.

    Raises:
        UsageError: it is no address.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not port:
        raise UsageError(f"llmperf_urls: {url!r} is no address", next_step="give http://host:port")
    host = OWN_HOST if parts.hostname in ("localhost", "::1") else parts.hostname
    return host, port


def hosts_of(topology: Topology) -> frozenset[str]:
    """The machines that its instances are on, by their numbers where names can be looked up."""
    return frozenset(_looked_up(address_of(one.url)[0]) for one in topology.instances)


def same_addresses(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether these are the same servers, one or more."""
    return bool(some) and _numbers(some) == _numbers(others)


def same_servers(one: Topology, other: Topology) -> bool:
    """Whether two topologies are the same servers, with the same model and placement of agents."""
    alike = one.kind is other.kind and same_model(one.model, other.model)
    return alike and same_addresses([i.url for i in one.instances], [i.url for i in other.instances])


def _numbers(urls: Sequence[str]) -> frozenset[tuple[str, int]]:
    return frozenset((_looked_up(host), port) for host, port in map(address_of, urls))


def _looked_up(host: str) -> str:
    """The number of a name; the name where nobody knows."""
    with suppress(OSError, UnicodeError):
        return socket.gethostbyname(host)
    return host
