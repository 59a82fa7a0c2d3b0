"""The `anthropic` client, `/v1/messages`, streaming."""

import os
import sys

import anthropic

FORECAST = {"name": "forecast", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}

messages = [{"role": "user", "content": sys.argv[1]}]
offered = {"tools": [FORECAST]} if "tools" in sys.argv else {}
client = anthropic.Anthropic()
while True:
    with client.messages.stream(
        model=os.environ["LLMPERF_MODEL"], messages=messages, max_tokens=64, **offered
    ) as stream:
        answer = stream.get_final_message()
    calls = [block for block in answer.content if block.type == "tool_use"]
    if not calls:
        break
    messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]})
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
    messages.append({"role": "user", "content": results})
