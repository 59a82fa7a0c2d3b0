"""Strands with its Ollama model."""

import contextlib
import os
import sys

from strands import Agent, tool
from strands.models.ollama import OllamaModel
from strands.types.exceptions import MaxTokensReachedException


@tool
def forecast(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


model = OllamaModel(os.environ["OLLAMA_HOST"], model_id=os.environ["LLMPERF_MODEL"], max_tokens=64)
agent = Agent(model=model, tools=[forecast] if "tools" in sys.argv else [], callback_handler=None)
with contextlib.suppress(MaxTokensReachedException):  # an answer of 64 tokens is cut off
    agent(sys.argv[1])
