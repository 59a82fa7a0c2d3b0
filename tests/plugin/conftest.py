"""A pytest inside pytest, with the scripted server."""

import pytest

FAST = (
    "--llmperf-backend=simulated",
    "--llmperf-script=decode_tok_s=800,ttft_ms=30,load_ms=1,jitter_pct=0.2",
    "-p",
    "no:cacheprovider",
)

GATED = """
    import pytest
    from pytest_llmperf import CHIMERA_HOMO

    @pytest.mark.multiagent
    @pytest.mark.efficiency(min_pct=90)
    @pytest.mark.contention(max_rate=0.01)
    def test_pair({fixture}, run_agents):
        run_agents(CHIMERA_HOMO, on={fixture})
"""


@pytest.fixture
def simulated(pytester: pytest.Pytester):
    """`simulated(*options)`: runs the inner pytest against the scripted server, in a process of its own."""
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n")

    def run(*options: object) -> pytest.RunResult:
        return pytester.runpytest_subprocess(*FAST, *options)

    return run
