"""The scenarios of the report, and a short conversation."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmperf.model.workload.agent import Agent
from pytest_llmperf.model.workload.generation_options import GenerationOptions
from pytest_llmperf.model.workload.scenario import Scenario

# Both end in mid-sentence, so that no model stops before it has begun, and both ask for more than num_predict tokens.
_COLLECT = (
    "You collect data for a team that measures how several agents share one server. Describe at length what was "
    "measured, in which order, and what looked unusual. The report begins: On the first day we started two agents on "
    "one server, and the second agent had to wait, because the"
)
_INSIGHT = (
    "You explain measurements to engineers. Explain at length, with several examples, why agents that share a server "
    "wait for each other, and how to measure it without being fooled by noise. The explanation begins: Think of a "
    "small shop with a single till, where every customer who comes in has to"
)


def _options(
    *, num_gpu: int | None = None, num_ctx: int | None = None, temperature: float | None = None
) -> GenerationOptions:
    return GenerationOptions(num_gpu=num_gpu, num_ctx=num_ctx, temperature=temperature, num_predict=96, seed=42)


BASELINE_VS_CHIMERA = Scenario(
    name="baseline_vs_chimera",
    agents=(
        Agent(name="collector", prompts=(_COLLECT,), options=_options()),
        Agent(name="insight", prompts=(_INSIGHT,), options=_options(num_gpu=80, num_ctx=2048, temperature=1.0)),
    ),
    source="report 3.5; collector with Ollama's defaults, insight as 8.5 multi-agent and TR110 test 202",
)
"""One agent with the server's defaults, one with tuned ("Chimera") options."""

CHIMERA_HETERO = Scenario(
    name="chimera_hetero",
    agents=(
        Agent(name="collector", prompts=(_COLLECT,), options=_options(num_gpu=120, num_ctx=512, temperature=0.8)),
        Agent(name="insight", prompts=(_INSIGHT,), options=_options(num_gpu=140, num_ctx=1024, temperature=0.8)),
    ),
    source="report 3.5; layers and contexts of TR114_v2 test011, temperature of 8.5",
)
"""Both agents tuned, with different values."""

CHIMERA_HOMO = Scenario(
    name="chimera_homo",
    agents=(
        Agent(name="collector", prompts=(_COLLECT,), options=_options(num_gpu=80, num_ctx=2048, temperature=1.0)),
        Agent(name="insight", prompts=(_COLLECT,), options=_options(num_gpu=80, num_ctx=2048, temperature=1.0)),
    ),
    source="report 3.5, 8.5 multi-agent; TR110 test 108",
)
"""Both agents tuned alike and doing the same work: the peak of parallel efficiency."""

CONVERSATION = Scenario(
    name="conversation",
    agents=tuple(
        Agent(
            name=name,
            prompts=(
                "Describe in a few sentences how a web server answers a request.",
                "Now explain what changes when two requests arrive at once.",
                "Summarise both answers in one paragraph.",
            ),
            options=_options(num_gpu=80, num_ctx=2048, temperature=0.8),
        )
        for name in ("collector", "insight")
    ),
    source="report 3.5 scenario 2, shortened to three turns; options of 8.5 multi-agent",
)
"""Two agents, each holding a short conversation of three turns."""

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario for scenario in (BASELINE_VS_CHIMERA, CHIMERA_HETERO, CHIMERA_HOMO, CONVERSATION)
}
"""These by their names; a `[scenarios.NAME]` of the same name takes the place of one."""
