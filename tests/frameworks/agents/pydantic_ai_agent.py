"""pydantic-ai with its Ollama model, not streaming."""

import os
import sys

from pydantic_ai import Agent


def forecast(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


agent = Agent(
    f"ollama:{os.environ['LLMPERF_MODEL']}",
    model_settings={"max_tokens": 64},
    tools=[forecast] if "tools" in sys.argv else [],
)
agent.run_sync(sys.argv[1])
