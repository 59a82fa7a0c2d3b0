"""Tools as requests offer them, in the three ways of writing that, and JSON that fits a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_llmperf.servers.emulator.api.request_options import RequestError
from pytest_llmperf.servers.emulator.engine import Job, ModelCard, Tool

_DEEPEST = 8


def tools_of(body: Mapping[str, object], card: ModelCard, *, schema: str = "parameters") -> tuple[Tool, ...]:
    """The tools of a body, each with its schema: in a `function`, as Ollama and OpenAI have it, or beside its name.

    Args:
        body: the body of the request.
        card: the model's card.
        schema: the schema's key.

    Raises:
        RequestError: the model has no use for tools, or one is not of this form.
    """
    given = body.get("tools")
    if not given:
        return ()
    if "tools" not in card.capabilities:
        raise RequestError(f'"{card.name}" does not support tools')
    if not isinstance(given, list):
        raise RequestError("tools: want a list")
    return tuple(_tool(item, index, schema) for index, item in enumerate(given))


def _tool(item: object, index: int, schema: str) -> Tool:
    inner = item.get("function", item) if isinstance(item, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(name, str) or not name:
        raise RequestError(f"tools[{index}]: want a function with a name")
    parameters = inner.get(schema) or {}
    if not isinstance(parameters, dict):
        raise RequestError(f"tools[{index}]: {schema} must be a JSON Schema")
    return Tool(name=name, parameters=parameters)


def chosen(job: Job, choice: object) -> Job:
    """The job with the tools that `tool_choice` leaves: a word, or an object that names a tool.

    Raises:
        RequestError: it is neither, or there is no such tool.
    """
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
        if name is not None:
            tools = tuple(tool for tool in job.tools if tool.name == name)
            if not tools:
                raise RequestError(f"tool_choice: there is no tool {name!r}")
            return _replaced(job, tools, must_call=True)
        choice = choice.get("type")
    if choice not in (None, "auto", "none", "required", "any"):
        raise RequestError(f"tool_choice: {choice!r} is not auto, none, required or a tool")
    return _replaced(job, () if choice == "none" else job.tools, must_call=choice in ("required", "any"))


def _replaced(job: Job, tools: Sequence[Tool], *, must_call: bool) -> Job:
    return replace(job, tools=tuple(tools), must_call=must_call and bool(tools))


def call_text(name: str, arguments: Mapping[str, object]) -> str:
    """A call as text, for prompts and for counting tokens."""
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)


def sample(schema: object, depth: int = 0) -> object:
    """A value that fits a JSON Schema of the usual kind, always the same.

    >>> sample({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}})
    {'a': 1, 'b': 'x'}
    """
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return "scripted"
    for name in ("enum", "anyOf", "oneOf", "allOf"):
        options = schema.get(name)
        if isinstance(options, list) and options:
            return options[0] if name == "enum" else sample(options[0], depth + 1)
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    properties = schema.get("properties")
    if kind == "object" or isinstance(properties, dict):
        members = properties.items() if isinstance(properties, dict) else ()
        return {name: sample(member, depth + 1) for name, member in members}
    plain: dict[object, object] = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "null": None}
    if kind == "array" and isinstance(schema.get("minItems"), int) and schema["minItems"] > 0:
        return [sample(schema.get("items"), depth + 1)]
    return plain.get(kind, "scripted") if isinstance(kind, str) else "scripted"
