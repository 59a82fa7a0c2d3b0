"""AutoGen with its Ollama client."""

import asyncio
import os
import sys

from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.ollama import OllamaChatCompletionClient


def forecast(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


async def main() -> None:
    """One run to its end."""
    client = OllamaChatCompletionClient(
        model=os.environ["LLMPERF_MODEL"],
        host=os.environ["OLLAMA_HOST"],
        options={"num_predict": 64},
        model_info={
            "vision": False,
            "function_calling": True,
            "json_output": False,
            "family": "unknown",
            "structured_output": False,
        },
    )
    tools = [forecast] if "tools" in sys.argv else []
    await AssistantAgent("writer", model_client=client, tools=tools, reflect_on_tool_use=bool(tools)).run(
        task=sys.argv[1]
    )
    await client.close()


asyncio.run(main())
