import socket

import pytest

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.measure.wire.prepared_request import target_of
from pytest_llmperf.model import Access, Instance, Settings, Topology, TopologyKind
from pytest_llmperf.plugin.options import parsers
from pytest_llmperf.servers import addresses
from pytest_llmperf.servers.addresses import (
    address_of,
    hosts_of,
    may_be_same,
    may_be_same_servers,
    same_addresses,
    same_servers,
)
from pytest_llmperf.servers.backends import discovery
from pytest_llmperf.servers.backends.attach import AttachBackend

NUMBERS = {"a.corp": "10.0.0.5", "b.corp": "10.0.0.5", "c.corp": "10.0.0.6", "me.corp": "127.0.1.1"}


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Two names of one address, as of an ingress or a reverse proxy; one of another; one of this machine."""
    monkeypatch.setattr(addresses.socket, "gethostbyname", lambda host: NUMBERS.get(host, host))
    assert socket.gethostbyname("a.corp") == "10.0.0.5"


@pytest.mark.parametrize(
    ("first", "second", "same", "perhaps"),
    [
        ("http://a.corp:1", "http://a.corp:1/", True, False),
        ("http://A.corp:1", "http://a.corp:1", True, False),
        ("http://a.corp:1", "http://b.corp:1", False, True),  # two servers by name, or an alias
        ("https://a.corp", "https://b.corp", False, True),
        ("http://a.corp:1", "http://10.0.0.5:1", True, False),
        ("http://a.corp:1", "http://c.corp:1", False, False),
        ("http://a.corp:1", "http://a.corp:2", False, False),
        ("http://a.corp/one", "http://a.corp/other", False, False),  # two servers by path
        ("http://localhost:1", "http://127.0.0.1:1", True, False),
        ("http://me.corp:1", "http://me.corp:1", True, False),
        ("http://[::1]:1", "http://127.0.0.1:1", False, True),  # a server each, or one that listens at both
        ("http://[::1]:1", "http://localhost:1", False, True),
        ("http://[::1]:1", "http://[0:0:0:0:0:0:0:1]:1", True, False),
        ("http://[::ffff:127.0.0.1]:1", "http://127.0.0.1:1", True, False),
        ("http://[::1]:1", "http://127.0.0.1:2", False, False),
    ],
)
def test_when_addresses_are_one_server(first, second, same, perhaps):
    """Names that only share a number may be different servers."""
    assert (same_addresses([first], [second]), may_be_same([first], [second])) == (same, perhaps)
    topologies = [
        Topology(kind=TopologyKind.SINGLE, instances=(Instance(name="a", url=url),), model="m", backend="attach")
        for url in (first, second)
    ]
    assert (same_servers(*topologies), may_be_same_servers(*topologies)) == (same, perhaps)


def test_nobody_is_not_the_same():
    """Backends that start their own servers have no addresses."""
    assert not same_addresses([], [])
    assert not may_be_same([], [])


def test_servers_by_path_are_two():
    """Behind one gateway."""
    urls = ("http://gateway/one", "http://gateway/other")
    backend = AttachBackend(urls, Settings(urls=urls), "")
    assert backend._distinct(TopologyKind.DUAL, 2) == urls


def test_the_loopback_addresses_of_a_port_may_be_two_servers():
    """One Ollama at 127.0.0.1, another at ::1: on one machine, and not refused for their addresses."""
    urls = ("http://127.0.0.1:11434", "http://[::1]:11434")
    backend = AttachBackend(urls, Settings(urls=urls), "")
    assert backend._distinct(TopologyKind.DUAL, 2) == urls
    instances = tuple(Instance(name=name, url=url) for name, url in zip("ab", urls, strict=True))
    topology = Topology(kind=TopologyKind.DUAL, instances=instances, model="m", backend="attach")
    assert hosts_of(topology) == {"127.0.0.1"}


READERS = {
    "OLLAMA_HOST": lambda text: discovery.look_around((), {"OLLAMA_HOST": text}),
    "an option": parsers.urls,
    "a proxy's option": parsers.proxy,
    "settings": lambda text: AttachBackend((f"http://{text}",), Settings(), ""),
    "a proxy": lambda text: Access(proxy=f"http://{text}").check(),
    "an instance": lambda text: address_of(f"http://{text}"),
    "a request": lambda text: target_of(f"http://{text}", label="agent a"),
}


@pytest.mark.parametrize("text", ["host:abc", "host:0", "host:99999", "host:1:2x", "[::1", "[::1]:x", "host:-1"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_address_is_a_clear_error_wherever_it_is_read(reader: str, text: str):
    """A port that is no number or no port is never taken for another one."""
    with pytest.raises((LlmperfError, ValueError), match=r"is not an (http )?address"):
        READERS[reader](text)
