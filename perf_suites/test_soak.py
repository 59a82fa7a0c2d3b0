"""Two agents for long, watched (the report, H.2): pytest perf_suites -m soak --llmperf-duration=30m."""

import pytest

from pytest_llmperf import CHIMERA_HOMO


@pytest.mark.soak
def test_two_agents_for_long(dual_ollama, run_agents):
    """Ends early on a critical level; a drift or a leak fails it at its end."""
    run_agents(CHIMERA_HOMO, on=dual_ollama)
