"""The report's six claims (C1 to C6): what this machine can say of each, with evidence, verdict and grade.

It ends with a decision record (S.1), filled, in the folder of results. A claim that is not reproduced is a finding, not
a failure: assert on those that your own decision rests on.
"""

from dataclasses import replace

import pytest

from pytest_llmperf import CHIMERA_HOMO

pytestmark = pytest.mark.claims

CLAIMS = {
    "C1": "Rust is the production language for several agents",
    "C2": "an instance an agent is mandatory",
    "C3": "tokio's default is the best runtime",
    "C4": "Gemma 3 scales best, Llama 3.1 reasons best",
    "C5": "Python has a ceiling of about 86 %",
    "C6": "configurations do not transfer between deployment modes",
}
TUNED = {"num_ctx": 4096}  # what TR108 found best for single inference
PLAYED_PCT = {
    "C2": {"single": 100, "single_parallel": 100, "dual": 98.4},
    "C3": 98.7,
    "C4": {"gemma3:latest": 99.2, "llama3.1:8b-instruct-q4_0": 98.5, "qwen2.5:7b": 89.4},
    "C5": 84.9,
    "C6": 100,
}
"""The balance that the report states, for a scripted server, which makes no agent slower than another by itself."""
PLAYED_TOKENS = 60


def with_options(agent, **options):
    """The same agent, asking for other options."""
    return replace(agent, options=replace(agent.options, **options))


@pytest.fixture
def agents(llmperf):
    """`agents(cell)`: two agents alike; for C6 one may have a context of its own, so that a shared server reloads."""
    simulated = llmperf.backend.kind == "simulated"

    def make(cell):
        first, second = CHIMERA_HOMO.agents
        fixed = ()
        if cell["claim"] == "C6":
            fixed = ("num_ctx", "num_predict")
            first, second = (with_options(agent, num_ctx=1024, num_predict=8) for agent in (first, second))
            second = with_options(second, **TUNED) if cell["tuned"] == "one" else second
        elif simulated:  # the second agent has less to do, so that the pair balances as the report states
            fixed = ("num_predict",)
            played = PLAYED_PCT[cell["claim"]]
            balance_pct = played if not isinstance(played, dict) else played[cell.get("model") or cell["topology"]]
            first = with_options(first, num_predict=PLAYED_TOKENS)
            second = with_options(second, num_predict=round(PLAYED_TOKENS * (2 * balance_pct / 100 - 1)))
        return replace(CHIMERA_HOMO, agents=(first, second), fixed=fixed)

    return make


def test_what_of_the_claims_holds_here(run_matrix, agents, decide_claims, write_record):
    """This suite depends on the architecture that C2 states: C2 must be reproduced wherever the suite runs."""
    results = run_matrix("matrices/claims.toml", agents=agents)
    decided, table = decide_claims(results.findings, CLAIMS)
    write_record("decision", *results.records, also=table)
    assert decided["C2"].status == "reproduced"
