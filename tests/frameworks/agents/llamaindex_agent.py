"""LlamaIndex's Ollama model: `chat` for plain answers, a function agent, which would stream by default, for tools."""

import asyncio
import os
import sys

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.ollama import Ollama

llm = Ollama(
    model=os.environ["LLMPERF_MODEL"],
    base_url=os.environ["OLLAMA_HOST"],
    request_timeout=120,
    context_window=2048,
    additional_kwargs={"num_predict": 64},
)


def forecast(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


async def with_tools() -> None:
    """An agent that may call the tool."""
    await FunctionAgent(tools=[forecast], llm=llm, streaming=False).run(sys.argv[1])


if "tools" in sys.argv:
    asyncio.run(with_tools())
else:
    llm.chat([ChatMessage(role="user", content=sys.argv[1])])
