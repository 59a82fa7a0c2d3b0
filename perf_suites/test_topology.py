"""One instance, one instance with two slots, two instances (seed TR113 against TR114): which serves two agents best?"""

import os

import pytest

from pytest_llmperf import CHIMERA_HOMO

pytestmark = pytest.mark.topology


def test_which_topology_serves_two_agents_best(single_ollama, single_parallel_ollama, dual_ollama, run_agents):
    """In turn: 75 % balance, 50 % scaling, one always waits. A slot each ends the waiting, an instance each pays."""
    single = run_agents(CHIMERA_HOMO, on=single_ollama)
    slots = run_agents(CHIMERA_HOMO, on=single_parallel_ollama)
    dual = run_agents(CHIMERA_HOMO, on=dual_ollama)

    def mean(record, metric):
        return record.summary(metric).mean

    assert mean(single, "efficiency_pct") == pytest.approx(75, abs=7)
    assert mean(single, "scaling_efficiency_pct") == pytest.approx(50, abs=10)
    assert mean(single, "contention_rate_ttft") == 1

    assert mean(slots, "efficiency_pct") > mean(single, "efficiency_pct") + 10
    assert slots.summary("queue_ms").median < single.summary("queue_ms").median

    assert mean(dual, "efficiency_pct") > mean(single, "efficiency_pct") + 10
    assert mean(dual, "scaling_efficiency_pct") > mean(single, "scaling_efficiency_pct")
    assert mean(dual, "contention_rate_ttft") < 0.5

    # What serves a batch in the time of a single request (a GPU, many cores) may gain more by slots. Where each agent
    # has one core, an instance each gains at least as much, other work on these cores aside.
    if dual.measurement.topology.backend in ("embedded", "simulated") and os.cpu_count() == len(CHIMERA_HOMO.agents):
        assert mean(dual, "scaling_efficiency_pct") > mean(slots, "scaling_efficiency_pct") - 5
