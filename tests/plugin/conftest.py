"""A pytest inside pytest, with the scripted server."""

import pytest

FAST = (
    "--llmperf-backend=simulated",
    "--llmperf-script=decode_tok_s=800,ttft_ms=30,load_ms=1,jitter_pct=0.2",
    "-p",
    "no:cacheprovider",
)

PAIR = """
from pytest_llmperf import Agent, GenerationOptions, Scenario

PAIR = Scenario(name="pair", agents=tuple(
    Agent(name=name, prompts=("tell me more",), options=GenerationOptions(num_predict=48, seed=1)) for name in "xy"
))
"""

GATED = """
    import pytest
    from pair import PAIR

    @pytest.mark.multiagent
    @pytest.mark.efficiency(min_pct=90)
    @pytest.mark.contention(max_rate=0.01)
    def test_pair({fixture}, run_agents):
        run_agents(PAIR, on={fixture})
"""


@pytest.fixture
def simulated(pytester: pytest.Pytester):
    """`simulated(*options)`: runs the inner pytest against the scripted server, in this process or one of its own."""
    pytester.makepyfile(pair=PAIR)
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n")

    def run(*options: object, own_process: bool = False) -> pytest.RunResult:
        start = pytester.runpytest_subprocess if own_process else pytester.runpytest_inprocess
        return start(*FAST, *options)

    return run
