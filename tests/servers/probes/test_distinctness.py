from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import Instance, Settings, Topology, TopologyKind
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.clients.client_factory import client_of
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.probes import distinctness
from tests.servers.relays import relay
from tests.started import simulated_servers

MODEL = "simulated:scripted"


@pytest.fixture(scope="module")
def servers():
    """Three running simulated servers."""
    with simulated_servers(3, load_ms=0) as urls:
        yield urls


def settled(*urls: str, kind: TopologyKind = TopologyKind.DUAL) -> tuple[str, ...]:
    """Attaches to these, loads the model on each as a session does, and has it looked at."""
    with choose(Settings(urls=urls)).open(kind, 2) as opened:
        for instance in opened.topology.instances:
            with client_of(instance) as control:
                control.preload(MODEL, {"num_ctx": 512}, keep_alive=900)
        return opened.settled({instance.name: 512 for instance in opened.topology.instances})


def loaded(url: str) -> bool:
    """Whether the model is still loaded there."""
    with OllamaClient(url) as control:
        return control.is_loaded(MODEL)


def test_two_servers_are_two(servers):
    """There is no note on them."""
    assert settled(*servers[:2]) == ()


def test_two_servers_behind_relays_are_two(servers):
    """However they are reached."""
    with relay(servers[0]) as first, relay(servers[1]) as second:
        assert settled(first, second) == ()


def test_two_addresses_of_one_server_are_refused(servers):
    """A forwarded port is a different address, and the same server: both agents would share it."""
    with (
        relay(servers[0]) as alias,
        pytest.raises(UsageError, match=r"instances a and b .* lead to one server") as caught,
    ):
        settled(servers[0], alias)
    assert "are not a dual topology" in str(caught.value)
    assert "--llmperf-topology=single" in caught.value.next_step


def test_one_balancer_under_two_names_is_refused(servers):
    """Requests of both agents go to either server; the model is left on neither."""
    with (
        relay(*servers[:2]) as balancer,
        relay(*servers[:2]) as again,
        pytest.raises(UsageError, match=r"instance a .* leads to several servers in turn"),
    ):
        settled(balancer, again)
    assert [loaded(url) for url in servers] == [False] * 3


def test_a_balancer_is_no_instance(servers):
    """It is refused even if it is the only address."""
    with relay(*servers) as balancer, pytest.raises(UsageError, match=r"leads to several servers") as caught:
        settled(balancer, kind=TopologyKind.SINGLE)
    assert "not the address of the load balancer" in caught.value.next_step
    assert [loaded(url) for url in servers] == [False] * 3


def test_a_server_that_does_not_say_is_noted(servers):
    """If nothing is loaded, or an old server reports nothing, it cannot be determined; a note says so."""
    for url in servers:  # a balancer may have left one loaded
        with OllamaClient(url) as control:
            control.unload(MODEL)
    instances = tuple(Instance(name=name, url=url) for name, url in zip("ab", servers, strict=False))
    topology = Topology(kind=TopologyKind.DUAL, instances=instances, model=MODEL, backend="attach")
    (note,) = distinctness.check(topology)
    assert "cannot be determined: a, b does not report" in note


def says(moments: dict[str, list[str]], monkeypatch) -> Topology:
    """A topology whose instances say these moments, the last one again and again."""
    instances = tuple(Instance(name=name, url=f"http://{name}:1") for name in moments)

    def leaves_at(instance: Instance, _: str) -> str:
        told = moments[instance.name]
        return told.pop(0) if len(told) > 1 else told[0]

    monkeypatch.setattr(distinctness, "leaves_at", leaves_at)
    return Topology(kind=TopologyKind.DUAL, instances=instances, model=MODEL, backend="attach")


NOW = datetime(2026, 11, 30, tzinfo=UTC)
FINE, LATER = "2026-11-30T00:15:00.123456789Z", "2026-11-30T00:15:01.987654321Z"


@pytest.mark.parametrize("at_load", [{}, "alike"])
@pytest.mark.parametrize(
    "moment",
    [
        "0001-01-01T00:00:00Z",  # Go's zero time
        "0001-01-01T00:00:00.123456789Z",
        "1970-01-01T00:00:00.000000Z",
        "2026-11-30T00:15:00Z",
        "2026-11-30T00:15:00.000Z",
        "2026-11-30T00:15:00.123Z",
        "2318-03-10T12:00:00.123456789Z",
        "9999-12-31T23:59:59.999999999Z",
        "never",
        "in 15.0001 minutes",
    ],
)
def test_what_two_servers_may_say_alike_is_no_proof(monkeypatch, moment, at_load):
    """Constants and whole seconds: both are accepted, and that it cannot be determined is noted."""
    topology = says({"a": [moment], "b": [moment]}, monkeypatch)
    (note,) = distinctness.check(topology, dict.fromkeys("ab", moment) if at_load else None, now=lambda: NOW)
    assert "whether instances a and b are different servers cannot be determined" in note
    assert moment in note


def test_a_fine_constant_is_none_either(monkeypatch):
    """It was there before, and the load of the second did not move it."""
    topology = says({"a": [FINE], "b": [FINE]}, monkeypatch)
    (note,) = distinctness.check(topology, {"a": FINE, "b": FINE}, now=lambda: NOW)
    assert "cannot be determined" in note


@pytest.mark.parametrize("at_load", [{"a": FINE, "b": LATER}, {"a": FINE}, {}])
def test_what_moved_with_the_other_s_load_is_one_server(monkeypatch, at_load):
    """Or, if the load is unknown, an expiry with a fraction of a second that is soon."""
    topology = says({"a": [LATER], "b": [LATER]}, monkeypatch)
    with pytest.raises(UsageError, match="lead to one server"):
        distinctness.check(topology, at_load, now=lambda: NOW)


@pytest.mark.parametrize(("first", "second"), [(FINE, LATER), ("2026-11-30T00:15:00Z", "2026-11-30T00:15:01Z")])
def test_different_moments_are_different_servers(monkeypatch, first, second):
    """Also in whole seconds: one server tells one moment."""
    assert distinctness.check(says({"a": [first], "b": [second]}, monkeypatch), now=lambda: NOW) == ()


@pytest.mark.parametrize(
    ("told", "refused", "words"),
    [
        ([FINE, LATER, FINE], True, "leads to several servers"),
        ([FINE, "", FINE], True, "leads to several servers"),
        (["0001-01-01T00:00:00Z", "", "0001-01-01T00:00:00Z"], True, "leads to several servers"),
        (["2026-11-30T00:15:00Z", "2026-11-30T00:15:01Z", "2026-11-30T00:15:00Z"], False, "cannot be determined"),
        (["2026-11-30T00:15:00.4Z", "2026-11-30T00:15:00.5Z", "2026-11-30T00:15:00.4Z"], False, "cannot be determined"),
    ],
)
def test_rounded_moments_may_come_again(monkeypatch, told, refused, words):
    """A server that works out its moment anew rounds it now up, now down; whether a model is loaded is not rounded."""
    topology = replace(says({"a": told}, monkeypatch), kind=TopologyKind.SINGLE)
    with pytest.raises(UsageError, match=words) if refused else nullcontext():
        (note,) = distinctness.check(topology, now=lambda: NOW)
        assert words in note


@pytest.mark.parametrize(
    ("told", "back"), [("aaaa", False), ("aabb", False), ("abc", False), ("aba", True), ("abab", True), ("", False)]
)
def test_what_comes_again_is_another_server(told, back):
    """Somebody else's request moves a server's moment on, never back."""
    assert distinctness.returns(told) is back
