"""Microsoft Agent Framework with its Ollama client, streaming."""

import asyncio
import sys

from agent_framework import Agent
from agent_framework_ollama import OllamaChatClient


def forecast(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


async def main() -> None:
    """One run to its end."""
    agent = Agent(OllamaChatClient(), tools=[forecast] if "tools" in sys.argv else [])
    async for _ in agent.run(sys.argv[1], stream=True, options={"max_tokens": 64}):
        pass


asyncio.run(main())
