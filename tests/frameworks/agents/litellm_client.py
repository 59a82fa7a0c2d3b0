"""LiteLLM's `completion`, which reaches Ollama by `/api/chat`."""

import os
import sys

import litellm

FORECAST = {
    "type": "function",
    "function": {"name": "forecast", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}

messages = [{"role": "user", "content": sys.argv[1]}]
offered = {"tools": [FORECAST]} if "tools" in sys.argv else {}
while True:
    answer = litellm.completion(
        model=f"ollama_chat/{os.environ['LLMPERF_MODEL']}", messages=messages, max_tokens=64, **offered
    )
    calls = answer.choices[0].message.tool_calls or []
    if not calls:
        break
    messages.append(answer.choices[0].message.model_dump())
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls]
