"""Real Ollamas that somebody else runs: told apart, shared with others, left as they were found."""

import threading
from dataclasses import replace

import httpx
import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.diagnosis.diagnose import diagnose
from pytest_llmperf.model import Agent, GenerationOptions, Scenario, Settings, TopologyKind
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.session.session import Session
from tests.live import PATIENCE_S
from tests.live.conftest import OPTIONS
from tests.servers.relays import relay

pytestmark = pytest.mark.live

PATIENT = {"start_timeout_s": PATIENCE_S, "timeout_s": PATIENCE_S}
LITTLE = GenerationOptions(num_ctx=512, num_predict=8, seed=1, num_gpu=0, num_thread=1)
PAIR = Scenario(name="pair", agents=tuple(Agent(name=name, prompts=("The sea",), options=LITTLE) for name in "xy"))


@pytest.fixture
def servers(settings):
    """Two running Ollamas with the model, and its name."""
    with choose(settings).open(TopologyKind.DUAL, 2) as opened:
        yield [instance.url for instance in opened.topology.instances], opened.topology.model


def measured(urls, model, tmp_path, scenario=PAIR, kind=TopologyKind.DUAL):
    """Two rounds of a pair of agents on these; all of them count, however busy this machine is."""
    settings = Settings(urls=tuple(urls), model=model, min_rounds=2, max_rounds=2, calibrate=False, **PATIENT)
    session = Session(settings, root=tmp_path)
    try:
        return session.measure(scenario, kind, test="t").measurement
    finally:
        session.close()


def test_two_servers_are_measured_and_left_as_they_were(servers, tmp_path):
    """No incident; what was loaded keeps its context and time, what was not is unloaded."""
    urls, model = servers
    with OllamaClient(urls[0], timeout_s=PATIENCE_S) as first:
        first.preload(model, {**OPTIONS, "num_ctx": 1024}, keep_alive=500)
    measurement = measured(urls, model, tmp_path)
    assert measurement.topology.backend == "attach"
    assert measurement.incidents == ()
    assert "instances a and b share the CPU of this machine" in measurement.notes
    with OllamaClient(urls[0]) as first, OllamaClient(urls[1]) as second:
        assert first.loaded(model).context_length == 1024
        assert second.loaded(model) is None


@pytest.mark.parametrize("slots", [1, 2])
def test_slots_are_seen(settings, tmp_path, slots):
    """One slot is seen if the server has one, although each agent requested a slot; two are seen if it has two."""
    kind = TopologyKind.SINGLE if slots == 1 else TopologyKind.SINGLE_PARALLEL
    longer = Scenario(
        name="longer",
        agents=tuple(replace(agent, options=replace(LITTLE, num_predict=48)) for agent in PAIR.agents),
    )
    with choose(settings).open(kind, 2) as opened:
        urls = tuple(instance.url for instance in opened.topology.instances)
        measurement = measured(urls, opened.topology.model, tmp_path, longer, TopologyKind.SINGLE_PARALLEL)
    assert measurement.topology.instances[0].slots_seen == slots
    assert f"slots_asked=2; slots_seen={slots}" in measurement.manifest.facts["server_settings"]
    fewer = "instance a processes 1 request at a time, but 2 slots were asked for"
    assert (fewer in measurement.notes) is (slots == 1)
    if slots == 1:
        assert diagnose(measurement).cause == "fewer slots than asked for"


def test_one_server_under_two_addresses_is_refused(servers, tmp_path):
    """Another port of the same server; and a balancer in front of both."""
    (first, second), model = servers
    with relay(first) as alias, pytest.raises(UsageError, match="lead to one server"):
        measured((first, alias), model, tmp_path)
    with (
        relay(first, second) as balancer,
        relay(second, first) as again,
        pytest.raises(UsageError, match=r"leads to several servers|lead to one server"),
    ):
        measured((balancer, again), model, tmp_path)


def test_another_client_is_noticed(servers, tmp_path):
    """Its requests ask for another time to stay, and are waited for."""
    urls, model = servers
    ended = threading.Event()
    options = replace(LITTLE, num_predict=1).as_request()
    body = {"model": model, "prompt": "x", "keep_alive": 60, "stream": False, "options": options}

    def disturb() -> None:
        with httpx.Client(base_url=urls[1], trust_env=False, timeout=PATIENCE_S) as client:
            while not ended.wait(0.001):
                client.post("/api/generate", json=body)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        measurement = measured(urls, model, tmp_path)
    finally:
        ended.set()
        disturber.join()
    assert any("somebody else used instance b" in incident.problem for incident in measurement.incidents)
    assert not any("somebody else used instance a" in incident.problem for incident in measurement.incidents)
