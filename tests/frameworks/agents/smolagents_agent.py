"""smolagents with its OpenAI-compatible model: the model alone, or a tool-calling agent."""

import os
import sys

from smolagents import ChatMessage, OpenAIModel, ToolCallingAgent, tool


@tool
def forecast(city: str) -> str:
    """Tell the weather in a city.

    Args:
        city: where.
    """
    return f"sunny in {city}"


model = OpenAIModel(
    model_id=os.environ["LLMPERF_MODEL"],
    api_base=os.environ["OPENAI_BASE_URL"],
    api_key=os.environ["OPENAI_API_KEY"],
    max_tokens=64,
)
if "tools" in sys.argv:
    ToolCallingAgent(tools=[forecast], model=model, max_steps=3).run(sys.argv[1])
else:
    model.generate([ChatMessage(role="user", content=[{"type": "text", "text": sys.argv[1]}])])
