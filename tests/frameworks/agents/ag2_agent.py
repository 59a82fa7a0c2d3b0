"""AG2 with its Ollama configuration."""

import asyncio
import os
import sys

from ag2 import Agent
from ag2.config import OllamaConfig


def forecast(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


async def main() -> None:
    """One run to its end."""
    config = OllamaConfig(model=os.environ["LLMPERF_MODEL"], host=os.environ["OLLAMA_HOST"], max_tokens=64)
    agent = Agent("writer", config=config, tools=[forecast] if "tools" in sys.argv else [])
    await agent.ask(sys.argv[1])


asyncio.run(main())
