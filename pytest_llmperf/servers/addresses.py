"""Addresses of servers, and whether two addresses are the same server."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from pytest_llmperf.errors import UsageError
from pytest_llmperf.masking import refused
from pytest_llmperf.model import Topology
from pytest_llmperf.model.model_names import same_model

OWN_HOST = "127.0.0.1"


def address_of(url: str) -> tuple[str, int]:
    """Host and port; all names of this machine are the same host.

    Raises:
        UsageError: it is not an address.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not port:
        raise UsageError(f"llmperf_urls: {refused(url)!r} is not an address", next_step="give http://host:port")
    host = OWN_HOST if parts.hostname in ("localhost", "::1") else parts.hostname
    return host, port


def hosts_of(topology: Topology) -> frozenset[str]:
    """The machines of its instances, by IP address if their names can be resolved."""
    return frozenset(_looked_up(address_of(instance.url)[0]) for instance in topology.instances)


def place_of(url: str) -> tuple[str, int, str]:
    """Host, port and path, because a gateway may tell servers apart by path. Raises UsageError as `address_of` does."""
    return (*address_of(url), urlsplit(url).path.rstrip("/"))


def same_addresses(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether these are the same servers, at least one; False if only the IP addresses of their names are equal."""
    by_name = _places(some), _places(others)
    if not some or by_name[0] == by_name[1]:
        return bool(some)
    return _places(some, number=True) == _places(others, number=True) and not all(map(_has_name, by_name))


def may_be_same(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether these have different names for the same IP addresses: virtual hosts, or aliases."""
    alike = bool(some) and _places(some, number=True) == _places(others, number=True)
    return alike and not same_addresses(some, others)


def same_servers(first: Topology, second: Topology) -> bool:
    """Whether two topologies are the same servers, with the same model and placement of agents."""
    return _alike(first, second) and same_addresses(_urls(first), _urls(second))


def may_be_same_servers(first: Topology, second: Topology) -> bool:
    """Like `may_be_same`, with the same model and placement of agents."""
    return _alike(first, second) and may_be_same(_urls(first), _urls(second))


def _alike(first: Topology, second: Topology) -> bool:
    return first.kind is second.kind and same_model(first.model, second.model)


def _urls(topology: Topology) -> list[str]:
    return [instance.url for instance in topology.instances]


def _places(urls: Sequence[str], *, number: bool = False) -> frozenset[tuple[str, int, str]]:
    """Where servers are, by name or by IP address; all names of this machine are equal."""
    places = set()
    for host, port, path in map(place_of, urls):
        resolved = _looked_up(host)
        places.add((resolved if number or resolved.startswith("127.") else host, port, path))
    return frozenset(places)


def _has_name(places: frozenset[tuple[str, int, str]]) -> bool:
    """Whether one of them has a host name instead of an IP address."""
    return any(re.search(r"[g-zG-Z]", host) for host, _, _ in places)


def _looked_up(host: str) -> str:
    """The IP address of a name; the name itself if it cannot be resolved."""
    with suppress(OSError, UnicodeError):
        return socket.gethostbyname(host)
    return host
