import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import Instance, Settings, Topology, TopologyKind
from pytest_llmperf.servers import identity
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.control import Control
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
            with Control.of(instance) as control:
                control.preload(MODEL, {"num_ctx": 512}, keep_alive=900)
        return opened.settled({instance.name: 512 for instance in opened.topology.instances})


def loaded(url: str) -> bool:
    """Whether the model is still loaded there."""
    with Control(url) as control:
        return control.is_loaded(MODEL)


def test_two_servers_are_two(servers):
    """Nothing is said of them."""
    assert settled(*servers[:2]) == ()


def test_two_servers_behind_relays_are_two(servers):
    """However they are reached."""
    with relay(servers[0]) as one, relay(servers[1]) as other:
        assert settled(one, other) == ()


def test_two_addresses_of_one_server_are_refused(servers):
    """A forwarded port is a different address, and the same server: both agents would share it."""
    with (
        relay(servers[0]) as alias,
        pytest.raises(UsageError, match=r"instances a and b .* lead to one server") as caught,
    ):
        settled(servers[0], alias)
    assert "are no dual topology" in str(caught.value)
    assert "--llmperf-topology=single" in caught.value.next_step


def test_one_balancer_under_two_names_is_refused(servers):
    """Requests of both agents go to either server; the model is left on neither."""
    with (
        relay(*servers[:2]) as balancer,
        relay(*servers[:2]) as again,
        pytest.raises(UsageError, match=r"instance a .* leads to several servers by turns"),
    ):
        settled(balancer, again)
    assert [loaded(url) for url in servers] == [False] * 3


def test_a_balancer_is_no_instance(servers):
    """Nor where it is the only address."""
    with relay(*servers) as balancer, pytest.raises(UsageError, match=r"leads to several servers") as caught:
        settled(balancer, kind=TopologyKind.SINGLE)
    assert "not that of the balancer" in caught.value.next_step
    assert [loaded(url) for url in servers] == [False] * 3


def test_a_server_that_does_not_say_is_noted(servers):
    """Where nothing is loaded, or an old server tells nothing, it cannot be told; that is said."""
    for url in servers:  # a balancer may have left one loaded
        with Control(url) as control:
            control.unload(MODEL)
    instances = tuple(Instance(name=name, url=url) for name, url in zip("ab", servers, strict=False))
    topology = Topology(kind=TopologyKind.DUAL, instances=instances, model=MODEL, backend="attach")
    (note,) = identity.check(topology)
    assert "cannot be told: a, b does not say" in note


@pytest.mark.parametrize(
    ("told", "back"), [("aaaa", False), ("aabb", False), ("abc", False), ("aba", True), ("abab", True), ("", False)]
)
def test_what_comes_again_is_another_server(told, back):
    """Somebody else's request moves a server's moment on, never back."""
    assert identity.returns(told) is back
