"""The `ollama` client for Python, streaming."""

import os
import sys

import ollama


def forecast(city: str) -> str:
    """Tell the weather.

    Args:
        city: where.
    """
    return f"sunny in {city}"


messages = [{"role": "user", "content": sys.argv[1]}]
tools = [forecast] if "tools" in sys.argv else None
client = ollama.Client()
while True:
    calls = []
    for part in client.chat(
        os.environ["LLMPERF_MODEL"], messages=messages, tools=tools, stream=True, options={"num_predict": 64}
    ):
        calls += part.message.tool_calls or ()
    if not calls:
        break
    messages.append({"role": "assistant", "content": "", "tool_calls": calls})
    messages += [{"role": "tool", "content": forecast(**call.function.arguments)} for call in calls]
