"""The bodies of requests, from the messages and options that a span of OpenTelemetry has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.recordings.otel_names import COMPLETION, EMBEDDINGS, OPTIONS, attribute


def body_of(path: str, attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The body of a request, if its span has the messages as texts and calls of tools; else None.

    Args:
        path: the path of the replayed request.
        attributes: the attributes of the span.
    """

    def get(name: str) -> Any:
        return attribute(attributes, name)

    messages = _messages(_parsed(get("system")), _parsed(get("messages")))
    if path == EMBEDDINGS or not messages:
        return None
    options = {
        field: attributes[name] for field, names in OPTIONS.items() for name in reversed(names) if name in attributes
    }
    stream: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if get("stream") else {}
    model = {"model": get("model")} if get("model") else {}
    if path == COMPLETION:
        return {**model, "prompt": "\n".join(str(message["content"]) for message in messages), **options, **stream}
    tools = [_tool(tool) for tool in _parsed(get("tools")) or () if isinstance(tool, dict)]
    return {**model, "messages": messages, **({"tools": tools} if tools else {}), **options, **stream}


def _parsed(value: Any) -> Any:
    """A structured attribute, which some exporters write as a text of JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _messages(system: Any, messages: Any) -> list[dict[str, Any]]:
    """The messages in OpenAI's form; empty if a part of them has another form (an image, a file)."""
    made: list[dict[str, Any]] = []
    given = [{"role": "system", "parts": system}] if system else []
    for message in (*given, *(messages if isinstance(messages, list) else ())):
        parts = message.get("parts") if isinstance(message, dict) else None
        if not isinstance(parts, list) or not all(map(_is_known, parts)):
            return []
        made += _in_openais_form(str(message.get("role", "user")), parts)
    return made if messages else []


_PARTS = ("text", "reasoning", "tool_call", "tool_call_response")


def _is_known(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in _PARTS


def _in_openais_form(role: str, parts: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """One message; of tools' answers, a message each."""
    answers = [part for part in parts if part["type"] == "tool_call_response"]
    for part in answers:
        answer = next((part[key] for key in ("response", "result") if key in part), "")
        yield {"role": "tool", "tool_call_id": str(part.get("id") or ""), "content": _text_of(answer)}
    calls = [
        {
            "id": str(part.get("id") or ""),
            "type": "function",
            "function": {"name": str(part.get("name", "")), "arguments": _text_of(part.get("arguments", {}))},
        }
        for part in parts
        if part["type"] == "tool_call"
    ]
    text = "".join(_text_of(part.get("content", "")) for part in parts if part["type"] == "text")
    if calls:
        yield {"role": role, "content": text, "tool_calls": calls}
    elif text or not answers:
        yield {"role": role, "content": text}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {key: tool[key] for key in ("name", "description", "parameters") if key in tool}
    return {"type": "function", "function": function}


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
