"""One instance, one instance with two slots, two instances (seed TR113 against TR114): which serves two agents best?"""

import pytest

from pytest_llmperf import CHIMERA_HOMO

pytestmark = pytest.mark.topology


def test_one_instance_serves_agents_one_after_the_other(single_ollama, dual_ollama, run_agents):
    """Two equal agents served in turn read 75 % balance and 50 % scaling, one always waits; on two, neither does."""
    single = run_agents(CHIMERA_HOMO, on=single_ollama)
    dual = run_agents(CHIMERA_HOMO, on=dual_ollama)
    assert single.summary("efficiency_pct").mean == pytest.approx(75, abs=7)
    assert single.summary("scaling_efficiency_pct").mean == pytest.approx(50, abs=10)
    assert single.summary("contention_rate_ttft").mean == 1
    assert dual.summary("contention_rate_ttft").mean < 0.5
    assert dual.summary("efficiency_pct").mean > single.summary("efficiency_pct").mean
    assert dual.summary("scaling_efficiency_pct").mean > single.summary("scaling_efficiency_pct").mean


def test_slots_end_the_waiting(single_ollama, single_parallel_ollama, run_agents):
    """With a slot each nobody waits and balance is high; only scaling efficiency tells whether it buys anything."""
    single = run_agents(CHIMERA_HOMO, on=single_ollama)
    slots = run_agents(CHIMERA_HOMO, on=single_parallel_ollama)
    assert slots.summary("queue_ms").median < single.summary("queue_ms").median
    assert slots.summary("efficiency_pct").mean > single.summary("efficiency_pct").mean
