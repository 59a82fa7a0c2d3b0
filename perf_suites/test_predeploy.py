"""Ready for production? The report's pre-deployment checklist (E.1, H.1), an item a test, in its order.

It ends with a benchmark validation record (S.2), filled, in the folder of results. The limits of 6 and 7 come from the
baseline in force: `embedded` on the embedded engine, else the report's card (efficiency above 95 %, contention below
1 %).
"""

from dataclasses import replace

import httpx
import pytest

from pytest_llmperf import CHIMERA_HOMO

pytestmark = pytest.mark.predeploy

LEAST_LAYERS = 80
MOST_VRAM_MB = 11_000
CONTEXTS = range(512, 2049)

PAIR = replace(
    CHIMERA_HOMO,
    name="predeploy",
    agents=tuple(replace(agent, options=replace(agent.options, num_predict=32)) for agent in CHIMERA_HOMO.agents),
)
WARMED = set()
MEASURED = []


def asked(url, path):
    """What an instance answers."""
    answer = httpx.get(url + path, timeout=10)
    assert answer.status_code == 200, f"{url}{path}"
    return answer.json()


@pytest.fixture
def warm(dual_ollama, ollama_warmup):
    """Two instances with the model loaded, three warm-ups each (item 5), nothing of it timed; once for all tests."""
    if dual_ollama.urls not in WARMED:
        ollama_warmup(PAIR, on=dual_ollama, times=3)
        WARMED.add(dual_ollama.urls)
    return dual_ollama


def loaded(deployment):
    """Each instance's entry of the loaded model."""
    entries = [asked(url, "/api/ps")["models"] for url in deployment.urls]
    assert all(len(models) == 1 for models in entries), f"wanted one loaded model an instance, got {entries}"
    return [entry for (entry,) in entries]


def test_01_two_instances_of_one_version_answer(dual_ollama):
    """Both answer /api/version, on addresses of their own, and are the same release."""
    assert len(set(dual_ollama.urls)) == 2
    versions = {asked(url, "/api/version")["version"] for url in dual_ollama.urls}
    assert len(versions) == 1, f"versions differ: {versions}"


def test_02_the_clients_runtime_is_no_bottleneck(warm, run_agents):
    """In the report: tokio's default. Here: the harness' own runtime keeps up, and costs less than 1 point."""
    MEASURED.append(run_agents(PAIR, on=warm))
    measurement = MEASURED[-1].measurement
    assert not measurement.discarded, f"{len(measurement.discarded)} rounds in which the client could not keep up"
    if measurement.calibration is not None:  # --llmperf-calibrate=off
        assert abs(measurement.calibration.bias_pp) < 1


def test_03_every_layer_is_on_the_gpu(warm, llmperf):
    """The options request at least 80 layers, and no layer is left to the CPU."""
    if not llmperf.has_gpu():
        pytest.skip("no GPU here: num_gpu and VRAM cannot be checked (E.1 #3)")
    assert all((agent.options.num_gpu or 0) >= LEAST_LAYERS for agent in PAIR.agents)
    assert all(entry["size_vram"] == entry["size"] for entry in loaded(warm))


def test_04_the_context_is_that_of_several_agents(warm):
    """512 to 2048 tokens a slot, and alike on both instances."""
    contexts = {entry["context_length"] for entry in loaded(warm)}
    assert len(contexts) == 1
    assert contexts <= set(CONTEXTS), f"{contexts}: see the profile multi_agent in docs/configuration.md"


def test_05_the_model_is_warm(warm):
    """After three requests an instance, which are not counted, both hold the model."""
    assert len(loaded(warm)) == 2


@pytest.mark.efficiency
def test_06_efficiency_is_high(warm, run_agents):
    """Five dual runs."""
    run_agents(PAIR, on=warm)


@pytest.mark.contention
def test_07_agents_do_not_contend(warm, run_agents):
    """No more contended rounds than the limit allows: of five, by the report's limit, none."""
    run_agents(PAIR, on=warm)


def test_08_no_alert_would_sound(warm, run_agents, llmperf_baseline):
    """The monitoring's critical levels (H.2), as far as they hold on any machine; E.1 asks for alerts to be set."""
    levels = {
        threshold.metric: threshold.value
        for threshold in llmperf_baseline.threshold
        if threshold.level == "critical" and threshold.metric in ("efficiency_pct", "contention_rate")
    }
    if not levels:
        pytest.skip(
            f"baseline {llmperf_baseline.name} states no critical levels: set those of your monitoring (E.1 #8)"
        )
    record = MEASURED[-1] if MEASURED else run_agents(PAIR, on=warm)
    assert record.summary("efficiency_pct").mean >= levels["efficiency_pct"]
    assert record.summary("contention_rate_ttft").mean <= levels["contention_rate"]


def test_09_memory_has_headroom(warm, run_agents, llmperf):
    """Less than 11 GB of VRAM on both instances together, while both agents work."""
    if not llmperf.has_gpu():
        pytest.skip("no GPU here: VRAM cannot be checked (E.1 #9)")
    run_agents(PAIR, on=warm)
    assert (llmperf.vram_mb() or 0) < MOST_VRAM_MB


@pytest.mark.efficiency
@pytest.mark.contention
def test_10_the_model_is_the_one_that_was_validated(warm, run_agents, write_record):
    """Both instances have the same digest and quantization, which this test writes to the record (S.2)."""
    entries = loaded(warm)
    assert len({entry["digest"] for entry in entries}) == 1
    assert len({entry["details"]["quantization_level"] for entry in entries}) == 1
    record = run_agents(PAIR, on=warm)
    facts = record.measurement.manifest.facts
    assert facts["model_digest"] == entries[0]["digest"]
    write_record("validation", record, also=f"Model digest: {facts['model_digest']}, warm-ups: 3 an instance")
