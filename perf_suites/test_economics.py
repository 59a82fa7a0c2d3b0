"""What serving two agents costs (chapter 7, A.7 to A.9, G of the report), at the prices in llmperf.toml.

Without a price there is capacity only; a limit of yours (`max_usd_per_1m_tokens`) is a gate.
"""

from dataclasses import replace

import pytest

from pytest_llmperf import CHIMERA_HOMO

pytestmark = pytest.mark.economics

PAIR = replace(
    CHIMERA_HOMO,
    name="economics",
    agents=tuple(replace(agent, options=replace(agent.options, num_predict=64)) for agent in CHIMERA_HOMO.agents),
)


def test_what_an_instance_an_agent_saves(single_ollama, dual_ollama, run_agents, economics):
    """Two agents on one instance take turns; an instance each serves more requests an hour, for the same money."""
    taking_turns = run_agents(PAIR, on=single_ollama)
    an_instance_each = run_agents(PAIR, on=dual_ollama)
    base, candidate = economics(taking_turns, an_instance_each)
    assert candidate.requests_per_hour > base.requests_per_hour


@pytest.mark.cost
def test_the_cost_of_a_million_tokens(dual_ollama, run_agents, llmperf):
    """Keeps the limit that llmperf.toml states."""
    prices = llmperf.settings.configuration.prices
    if prices is None or not prices.max_usd_per_1m_tokens:
        pytest.skip("no limit is stated: max_usd_per_1m_tokens in [prices] of llmperf.toml")
    run_agents(PAIR, on=dual_ollama)
