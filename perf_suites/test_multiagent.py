"""Two agents, an instance each: the three scenarios of the report (3.5, TR110, TR114). Copy and adapt.

The limits come from the baseline in force: `embedded` on the embedded engine, else the report's `decision_card`.
"""

import pytest

from pytest_llmperf import BASELINE_VS_CHIMERA, CHIMERA_HETERO, CHIMERA_HOMO

pytestmark = [pytest.mark.multiagent, pytest.mark.efficiency, pytest.mark.contention]


def test_default_options_beside_tuned_ones(dual_ollama, run_agents):
    """One agent with the server's defaults, one tuned."""
    run_agents(BASELINE_VS_CHIMERA, on=dual_ollama)


def test_two_differently_tuned_agents(dual_ollama, run_agents):
    """Both tuned, with different values."""
    run_agents(CHIMERA_HETERO, on=dual_ollama)


def test_two_identical_agents(dual_ollama, run_agents):
    """Both tuned alike: the peak of parallel efficiency."""
    run_agents(CHIMERA_HOMO, on=dual_ollama)
