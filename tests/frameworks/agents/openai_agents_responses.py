"""OpenAI Agents SDK, its default API `/v1/responses`, with `run`, which does not stream."""

import os
import sys

from agents import Agent, ModelSettings, Runner, function_tool


@function_tool
def forecast(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


agent = Agent(
    name="writer",
    model=os.environ["LLMPERF_MODEL"],
    model_settings=ModelSettings(max_tokens=64),
    tools=[forecast] if "tools" in sys.argv else [],
)
Runner.run_sync(agent, sys.argv[1])
