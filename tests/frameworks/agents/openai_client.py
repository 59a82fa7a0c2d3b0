"""The `openai` client, `/v1/chat/completions`, streaming with usage."""

import os
import sys

import openai

FORECAST = {
    "type": "function",
    "function": {"name": "forecast", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}

messages = [{"role": "user", "content": sys.argv[1]}]
offered = {"tools": [FORECAST]} if "tools" in sys.argv else {}
client = openai.OpenAI()
while True:
    calls = []
    for chunk in client.chat.completions.create(
        model=os.environ["LLMPERF_MODEL"],
        messages=messages,
        max_tokens=64,
        stream=True,
        stream_options={"include_usage": True},
        **offered,
    ):
        for choice in chunk.choices:
            calls += choice.delta.tool_calls or ()
    if not calls:
        break
    messages.append({"role": "assistant", "tool_calls": [call.model_dump() for call in calls]})
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls]
