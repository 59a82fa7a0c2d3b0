"""Addresses of servers, and whether two addresses are the same server.

Two addresses are one server only if they must be: the two loopback addresses of a port may have a server each, and a
check of the running servers tells them apart, or a note says that it cannot.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from pytest_llmperf.errors import UsageError
from pytest_llmperf.masking import refused
from pytest_llmperf.model import Topology
from pytest_llmperf.model.model_names import same_model

OWN_HOST = "127.0.0.1"
OWN_HOST_6 = "::1"


def address_of(url: str) -> tuple[str, int]:
    """Host and port; `localhost` is 127.0.0.1, and an IP address has one spelling.

    ::1 is another address: one port may have a server on each of the two.

    Raises:
        UsageError: it is not an address.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", 0
    if not host or port == 0 or parts.scheme not in ("http", "https"):
        raise UsageError(f"llmperf_urls: {refused(url)!r} is not an address", next_step="give http://host:port")
    host = OWN_HOST if host == "localhost" else _one_spelling(host)
    return host, port or (443 if parts.scheme == "https" else 80)


def is_loopback(host: str) -> bool:
    """Whether a host, as `address_of` gives it, is this machine by a loopback address."""
    return host in (OWN_HOST, OWN_HOST_6)


def hosts_of(topology: Topology) -> frozenset[str]:
    """The machines of its instances, by IP address if their names can be resolved."""
    hosts = [address_of(instance.url)[0] for instance in topology.instances]
    return frozenset(OWN_HOST if is_loopback(host) else _looked_up(host) for host in hosts)


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
    """Whether these have different names for the same IP addresses (virtual hosts, aliases), or both loopback ones."""
    machines = (_places(urls, number=True, loopback=True) for urls in (some, others))
    return bool(some) and len(set(machines)) == 1 and not same_addresses(some, others)


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


def _places(urls: Sequence[str], *, number: bool = False, loopback: bool = False) -> frozenset[tuple[str, int, str]]:
    """Where servers are, by name or by IP address; the two loopback addresses are equal if `loopback` says so."""
    places = set()
    for host, port, path in map(place_of, urls):
        resolved = OWN_HOST if loopback and is_loopback(host) else _looked_up(host)
        places.add((resolved if number or resolved.startswith("127.") else host, port, path))
    return frozenset(places)


def _has_name(places: frozenset[tuple[str, int, str]]) -> bool:
    """Whether one of them has a host name instead of an IP address."""
    return any(re.search(r"[g-zG-Z]", host) for host, _, _ in places)


def _one_spelling(host: str) -> str:
    """An IP address as it is usually written; a name as it is."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return str(getattr(address, "ipv4_mapped", None) or address)


def _looked_up(host: str) -> str:
    """The IP address of a name; the name itself if it cannot be resolved."""
    with suppress(OSError, UnicodeError):
        return socket.gethostbyname(host)
    return host
