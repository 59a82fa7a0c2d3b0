"""System throughput with more and more agents, and the law of its growth (report, 11.3: the largest gap)."""

import pytest

pytestmark = pytest.mark.scale


def test_how_throughput_grows(run_matrix):
    """Each topology with 1 to 8 agents; --llmperf-max-agents sets the most. The curve is printed and written."""
    results = run_matrix("matrices/scale.toml")
    if results.rows[0].backend == "simulated":  # which serves a slot's requests one after the other
        single = {row.agents: row.system_tok_s for row in results.counted if row.topology == "single"}
        assert max(single.values()) < 1.5 * min(single.values())
