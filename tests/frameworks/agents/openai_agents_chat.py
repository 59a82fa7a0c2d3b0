"""OpenAI Agents SDK, `/v1/chat/completions`, with `run_streamed`."""

import asyncio
import os
import sys

from agents import Agent, ModelSettings, Runner, function_tool, set_default_openai_api

set_default_openai_api("chat_completions")


@function_tool
def forecast(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


async def main() -> None:
    """One run to its end."""
    agent = Agent(
        name="writer",
        model=os.environ["LLMPERF_MODEL"],
        model_settings=ModelSettings(max_tokens=64, include_usage=True),
        tools=[forecast] if "tools" in sys.argv else [],
    )
    async for _ in Runner.run_streamed(agent, sys.argv[1]).stream_events():
        pass


asyncio.run(main())
