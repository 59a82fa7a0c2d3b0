"""Google ADK, which reaches Ollama through LiteLLM."""

import asyncio
import os
import sys

from google.adk.agents import LlmAgent
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai import types


def forecast(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


async def main() -> None:
    """One run to its end."""
    agent = LlmAgent(
        name="writer",
        model=LiteLlm(model=f"ollama_chat/{os.environ['LLMPERF_MODEL']}"),
        tools=[forecast] if "tools" in sys.argv else [],
        generate_content_config=types.GenerateContentConfig(max_output_tokens=64),
    )
    runner = InMemoryRunner(agent=agent, app_name="llmperf")
    session = await runner.session_service.create_session(app_name="llmperf", user_id="me")
    message = types.Content(role="user", parts=[types.Part(text=sys.argv[1])])
    async for _ in runner.run_async(user_id="me", session_id=session.id, new_message=message):
        pass


asyncio.run(main())
