from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pytest_llmperf.model import AgentRun, Instance, RequestTiming, Round, Topology, TopologyKind
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.probes.foreign_traffic import Traffic
from tests.servers.conftest import HandEngine, serving

KEEP_S = 900.0


def request(*, done_ns: int = 0) -> RequestTiming:
    return RequestTiming(sent_ns=0, done_ns=done_ns, arrivals_ns=(1,), eval_count=1)


def round_of(timing: RequestTiming) -> Round:
    runs = tuple(AgentRun(agent=name, instance="a", start_ns=0, requests=(timing,)) for name in "xy")
    return Round(index=0, order=(), solo=runs[:1], together=runs)


@pytest.fixture
def served():
    """A server with the model loaded, and the Traffic of a topology of it whose clocks stand still."""
    with serving(HandEngine()) as client:
        url = str(client.base_url)
        instance = Instance(name="a", url=url)
        topology = Topology(kind=TopologyKind.SINGLE, instances=(instance,), model="hand:driven", backend="attach")
        with OllamaClient(url) as control:
            control.preload("hand:driven", keep_alive=KEEP_S)
            loaded_s = datetime.fromisoformat(control.loaded("hand:driven").expires_at).timestamp() - KEEP_S
            yield control, topology, loaded_s


def traffic_at(topology: Topology, wall_s: float) -> Traffic:
    """Asked at this moment; the round's last request ended then."""
    return Traffic(topology, wall=lambda: wall_s, monotonic_ns=lambda: 5)


def seen(traffic: Traffic, timing: RequestTiming | None = None) -> tuple[str, ...]:
    return traffic.seen(round_of(timing or request(done_ns=5)), keep_alive_s=KEEP_S)


def test_alone_nothing_is_seen(served):
    """Round by round, also where the server's clock is a minute ahead of ours."""
    for ahead_s in (0, 60):
        traffic = traffic_at(served[1], served[2] - ahead_s)
        assert seen(traffic) == seen(traffic) == ()


@pytest.mark.parametrize(("keep_alive", "words"), [(300, "600 s sooner"), (-1, "later"), (KEEP_S + 7, "7 s later")])
def test_a_request_of_somebody_else_is_seen(served, keep_alive, words):
    """It leaves the model another time to stay than our last one did."""
    control, topology, loaded_s = served
    traffic = traffic_at(topology, loaded_s)
    assert seen(traffic) == ()
    control.preload("hand:driven", keep_alive=keep_alive)
    (sign,) = seen(traffic)
    assert "somebody else used instance a" in sign
    assert words in sign


def test_a_request_of_somebody_else_is_seen_in_the_first_round(served):
    """Before there is anything to compare with: no clock is that far off."""
    control, topology, loaded_s = served
    control.preload("hand:driven", keep_alive=60)
    (sign,) = seen(traffic_at(topology, loaded_s))
    assert "840 s sooner" in sign


@pytest.mark.parametrize("told", ["0001-01-01T00:00:00Z", "2318-01-01T00:00:00Z", "2026-01-01T00:00:00.123456789Z"])
def test_a_constant_is_no_sign(served, monkeypatch, told):
    """What our own rounds do not move says nothing of others."""
    _, topology, loaded_s = served
    entries = OllamaClient.ps
    monkeypatch.setattr(
        OllamaClient, "ps", lambda self: tuple(replace(entry, expires_at=told) for entry in entries(self))
    )
    traffic = traffic_at(topology, loaded_s)
    traffic.begin({"a": told})
    assert seen(traffic) == seen(traffic) == ()


@pytest.mark.parametrize(("extra_s", "signs"), [(1.9, 0), (2.5, 1)])
def test_whole_seconds_are_no_sign_by_themselves(served, monkeypatch, extra_s, signs):
    """They are cut off now by nearly a second, now by nothing."""
    topology = served[1]
    entries = OllamaClient.ps
    told = ["2030-01-01T00:00:00Z", "2030-01-01T00:00:01Z"]
    begun_s = datetime.fromisoformat(told[0]).timestamp() - KEEP_S
    moments = iter(told)
    monkeypatch.setattr(
        OllamaClient, "ps", lambda self: tuple(replace(entry, expires_at=next(moments)) for entry in entries(self))
    )
    now_s = [begun_s]
    traffic = Traffic(topology, wall=lambda: now_s[0], monotonic_ns=lambda: 5)
    assert seen(traffic) == ()
    now_s[0] += 1 + extra_s
    assert len(seen(traffic)) == signs


def test_a_moment_long_ago_is_no_sign(served, monkeypatch):
    """Also if nothing is known from before the rounds."""
    _, topology, loaded_s = served
    entries = OllamaClient.ps
    told = "0001-01-01T00:00:00Z"
    monkeypatch.setattr(
        OllamaClient, "ps", lambda self: tuple(replace(entry, expires_at=told) for entry in entries(self))
    )
    assert seen(traffic_at(topology, loaded_s)) == ()


def test_another_model_that_comes_is_seen_once(served, monkeypatch):
    """What was there from the beginning is company, what comes later is somebody else's work."""
    _, topology, loaded_s = served
    entries = OllamaClient.ps
    more = ["old:1"]
    monkeypatch.setattr(
        OllamaClient, "ps", lambda self: (*entries(self), *(replace(entries(self)[0], name=name) for name in more))
    )
    traffic = traffic_at(topology, loaded_s)
    assert seen(traffic) == ()
    more.append("new:1")
    assert seen(traffic) == ("somebody else loaded new:1 on instance a",)
    assert seen(traffic) == ()


def test_what_cannot_be_asked_is_not_seen(served):
    """A model that is not loaded, or a server that is gone, is for others to find."""
    control, topology, _ = served
    traffic = traffic_at(topology, datetime.now(UTC).timestamp())
    control.unload("hand:driven")
    assert seen(traffic) == ()
    gone = replace(topology, instances=(Instance(name="a", url="http://127.0.0.1:9"),))
    assert seen(traffic_at(gone, 0.0)) == ()
