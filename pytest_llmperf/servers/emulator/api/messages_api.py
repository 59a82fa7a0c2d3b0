"""Anthropic's `/v1/messages`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence

from pytest_llmperf.servers.emulator.api.answer_forms import Ending, Part, calls_of, compact, text_of
from pytest_llmperf.servers.emulator.api.openai_api import v1_request, v1_sampling
from pytest_llmperf.servers.emulator.api.request_bodies import (
    GenerationRequest,
    as_message,
    model_of,
    refuse_thinking,
)
from pytest_llmperf.servers.emulator.api.request_options import RequestError
from pytest_llmperf.servers.emulator.api.tool_offers import chosen, tools_of
from pytest_llmperf.servers.emulator.engine import Job, Message, ModelCard, Piece, ToolCall

_REASONS = {"stop": "end_turn", "length": "max_tokens"}
_ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error", 503: "overloaded_error"}
_SAMPLING = ("temperature", "top_p", "top_k", "max_tokens")


class MessagesForm:
    """Named events; see Form.

    Args:
        model: the model's name as the client wrote it.
    """

    stream_type = "text/event-stream"

    def __init__(self, model: str) -> None:
        self._head: Part = {
            **{"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "model": model},
            **{"stop_reason": None, "stop_sequence": None},
        }
        self._blocks = 0
        self._begun = self._in_text = self._called = False

    def framed(self, payload: str) -> bytes:
        """An error event, or the output of a fault."""
        return f"event: error\ndata: {payload}\n\n".encode()

    def piece(self, piece: Piece) -> bytes:
        """The events of a piece of text, or of a whole tool call; the first piece also begins the answer."""
        events = self._start()
        if isinstance(piece, ToolCall):
            return events + self._close_text() + self._call(piece)
        if not self._in_text:
            self._in_text = True
            events += self._event("content_block_start", index=self._blocks, content_block={"type": "text", "text": ""})
        return events + self._delta({"type": "text_delta", "text": piece})

    def end(self, ending: Ending) -> bytes:
        """What completes the text, then the reason with the counts, and the end."""
        events = self._start() + self._close_text()
        delta = {"stop_reason": self._reason(ending), "stop_sequence": None}
        return events + self._event("message_delta", delta=delta, usage=_usage(ending)) + self._event("message_stop")

    def whole(self, pieces: Sequence[Piece], ending: Ending) -> Part:
        """The answer with its counts."""
        text = text_of(pieces)
        blocks: list[Part] = [{"type": "text", "text": text}] if text or not calls_of(pieces) else []
        blocks += [{**_tool_use(call), "input": call.arguments} for call in calls_of(pieces)]
        self._called = bool(calls_of(pieces))
        return {**self._head, "content": blocks, "stop_reason": self._reason(ending), "usage": _usage(ending)}

    def error(self, message: str, status: int) -> Part:
        """Anthropic's."""
        return messages_error(message, status)

    def _start(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return self._event("message_start", message={**self._head, "content": [], "usage": _usage(None)})

    def _close_text(self) -> bytes:
        if not self._in_text:
            return b""
        self._in_text = False
        self._blocks += 1
        return self._event("content_block_stop", index=self._blocks - 1)

    def _call(self, call: ToolCall) -> bytes:
        self._called = True
        events = self._event("content_block_start", index=self._blocks, content_block=_tool_use(call))
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        events += self._delta({"type": "input_json_delta", "partial_json": arguments})
        events += self._event("content_block_stop", index=self._blocks)
        self._blocks += 1
        return events

    def _delta(self, delta: Part) -> bytes:
        return self._event("content_block_delta", index=self._blocks, delta=delta)

    def _reason(self, ending: Ending) -> str:
        return "tool_use" if self._called else _REASONS.get(ending.reason, ending.reason)

    def _event(self, kind: str, **members: object) -> bytes:
        return f"event: {kind}\ndata: {compact({'type': kind, **members})}\n\n".encode()


def messages_error(message: str, status: int) -> Part:
    """The error object of `/v1/messages`."""
    return {"type": "error", "error": {"type": _ERROR_TYPES.get(status, "api_error"), "message": message}}


def parse_messages(body: Mapping[str, object], card: ModelCard) -> GenerationRequest:
    """A request of `/v1/messages`.

    Raises:
        RequestError: a field is of the wrong type, or asks for what this server does not do.
    """
    if body.get("max_tokens") is None:
        raise RequestError("max_tokens: field required")
    thinking = body.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") != "disabled":
        refuse_thinking(think=True, model=card.name)
    fields = {name: body[name] for name in _SAMPLING if name in body}
    job = Job(
        messages=_messages(body, card),
        tools=tools_of(body, card, schema="input_schema"),
        sampling=v1_sampling({**fields, "stop": body.get("stop_sequences")}),
    )
    return v1_request(body, job=chosen(job, body.get("tool_choice")), form=MessagesForm(model_of(body)))


def _messages(body: Mapping[str, object], card: ModelCard) -> tuple[Message, ...]:
    given, system = body.get("messages"), body.get("system")
    if not isinstance(given, list) or not given:
        raise RequestError("messages: want a list of one message or more")
    first = [{"role": "system", "content": system}] if system else []
    items = [*first, *given]
    return tuple(message for index, item in enumerate(items) for message in _of_item(item, index, card))


def _of_item(item: object, index: int, card: ModelCard) -> list[Message]:
    """A message's blocks as messages: results of tools become messages of their own."""
    content = item.get("content") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(content, list):
        return [as_message(item, index, card)]
    messages: list[Message] = []
    texts: list[str] = []
    calls: list[object] = []
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif kind == "tool_use":
            calls.append({"name": block.get("name"), "arguments": block.get("input")})
        elif kind == "tool_result":
            messages.append(as_message({"role": "tool", "content": _result(block, index)}, index, card))
        elif kind not in ("thinking", "redacted_thinking"):
            raise RequestError(f"messages[{index}]: this server does not know blocks of type {kind!r}")
    if texts or calls or not messages:
        whole = {**item, "content": "".join(texts), "tool_calls": calls}
        messages.append(as_message(whole, index, card))
    return messages


def _result(block: Mapping[str, object], index: int) -> str:
    """The text of a tool's result."""
    content = block.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(parts) == len(content) and all(isinstance(part, str) for part in parts):
            return "".join(map(str, parts))
    if content is not None and not isinstance(content, str):
        raise RequestError(f"messages[{index}]: a tool_result has texts only")
    return content or ""


def _tool_use(call: ToolCall) -> Part:
    return {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:12]}", "name": call.name, "input": {}}


def _usage(ending: Ending | None) -> Part:
    done = ending.completion if ending else None
    prompt, answer = (done.prompt_eval_count, done.eval_count) if done is not None else (0, 0)
    return {"input_tokens": prompt, "output_tokens": answer}
