"""The names that OpenTelemetry's conventions for GenAI have for the parts of traces that are read.

The conventions are in development and are being renamed: to read a new name, add it to the front of its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHAT, COMPLETION, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"

OPERATIONS = {
    "chat": CHAT,
    "generate_content": CHAT,
    "text_completion": COMPLETION,
    "embeddings": EMBEDDINGS,
}
"""Values of the attribute `operation` that are requests to a model, and the path that replays them."""

ATTRIBUTES = {
    "operation": ("gen_ai.operation.name",),
    "agent": ("gen_ai.agent.name",),
    "model": ("gen_ai.request.model", "gen_ai.response.model"),
    "stream": ("gen_ai.request.stream", "gen_ai.request.is_stream"),
    "messages": ("gen_ai.input.messages",),
    "system": ("gen_ai.system_instructions",),
    "tools": ("gen_ai.tool.definitions",),
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "finish": ("gen_ai.response.finish_reasons",),
}
"""Attributes of a span, the newest name first."""

OPTIONS = {
    "max_tokens": ("gen_ai.request.max_tokens",),
    "temperature": ("gen_ai.request.temperature",),
    "top_p": ("gen_ai.request.top_p",),
    "top_k": ("gen_ai.request.top_k",),
    "seed": ("gen_ai.request.seed", "gen_ai.openai.request.seed"),
    "stop": ("gen_ai.request.stop_sequences",),
    "frequency_penalty": ("gen_ai.request.frequency_penalty",),
    "presence_penalty": ("gen_ai.request.presence_penalty",),
}
"""Fields of a request's body, and the attributes that have them."""


def attribute(attributes: Mapping[str, Any], name: str) -> Any:
    """The attribute of a span, by its newest or an older name; None if it is not there."""
    return next((attributes[key] for key in ATTRIBUTES[name] if key in attributes), None)
