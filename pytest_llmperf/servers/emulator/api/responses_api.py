"""OpenAI's `/v1/responses`, as Ollama speaks it: it keeps no state, and an answer that met its limit is `completed`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence

from pytest_llmperf.servers.emulator.api.answer_forms import Ending, Part, call_id, calls_of, compact, text_of
from pytest_llmperf.servers.emulator.api.openai_api import v1_error, v1_request, v1_sampling
from pytest_llmperf.servers.emulator.api.request_bodies import (
    GenerationRequest,
    as_message,
    model_of,
    refuse_thinking,
)
from pytest_llmperf.servers.emulator.api.request_options import RequestError
from pytest_llmperf.servers.emulator.api.tool_offers import chosen, tools_of
from pytest_llmperf.servers.emulator.engine import Completion, Job, Message, ModelCard, Piece, ToolCall

_STATEFUL = ("previous_response_id", "conversation", "background", "prompt")
_TEXT_PARTS = ("input_text", "output_text", "text")
_LIMIT = "max_output_tokens"


class ResponsesForm:
    """Named events, each with its number; see Form.

    Args:
        model: the model's name as the client wrote it.
    """

    stream_type = "text/event-stream"

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = f"resp_{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._number = 0
        self._items: list[Part] = []
        self._text: list[str] = []
        self._begun = False

    def framed(self, payload: str) -> bytes:
        """An event that is an error, or what a fault writes."""
        return f"event: error\ndata: {payload}\n\n".encode()

    def piece(self, piece: Piece) -> bytes:
        """The events of a piece of text, or of a whole call; before the first one, those that begin the answer."""
        events = self._start()
        if isinstance(piece, ToolCall):
            return events + self._close_text() + self._call(piece)
        if not self._text:
            events += self._event("response.output_item.added", output_index=len(self._items), item=self._message(""))
            events += self._event("response.content_part.added", **self._place(), part=_part(""))
        self._text.append(piece)
        return events + self._event("response.output_text.delta", **self._place(), delta=piece, logprobs=[])

    def end(self, ending: Ending) -> bytes:
        """What completes the text, and the whole answer with its counts."""
        events = self._start() + self._close_text()
        return events + self._event("response.completed", response=self._response("completed", ending))

    def whole(self, pieces: Sequence[Piece], ending: Ending) -> Part:
        """The answer with its counts."""
        text = text_of(pieces)
        if text or not calls_of(pieces):
            self._items.append(self._message(text, "completed"))
        self._items += map(_call_item, calls_of(pieces))
        return self._response("completed", ending)

    def error(self, message: str, status: int) -> Part:
        """OpenAI's."""
        return v1_error(message, status)

    def _start(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        response = self._response("in_progress", None)
        created = self._event("response.created", response=response)
        return created + self._event("response.in_progress", response=response)

    def _close_text(self) -> bytes:
        if not self._text:
            return b""
        text = "".join(self._text)
        item = self._message(text, "completed")
        events = self._event("response.output_text.done", **self._place(), text=text, logprobs=[])
        events += self._event("response.content_part.done", **self._place(), part=_part(text))
        events += self._event("response.output_item.done", output_index=len(self._items), item=item)
        self._items.append(item)
        self._text.clear()
        return events

    def _call(self, call: ToolCall) -> bytes:
        item, index = _call_item(call), len(self._items)
        place = {"item_id": item["id"], "output_index": index}
        events = self._event("response.output_item.added", output_index=index, item={**item, "arguments": ""})
        events += self._event("response.function_call_arguments.delta", **place, delta=item["arguments"])
        events += self._event(
            "response.function_call_arguments.done", **place, name=call.name, arguments=item["arguments"]
        )
        events += self._event("response.output_item.done", output_index=index, item=item)
        self._items.append(item)
        return events

    def _place(self) -> Part:
        return {"item_id": f"msg_{self._id[5:]}", "output_index": len(self._items), "content_index": 0}

    def _message(self, text: str, status: str = "in_progress") -> Part:
        content = [_part(text)] if status == "completed" else []
        item_id = f"msg_{self._id[5:]}"
        return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def _response(self, status: str, ending: Ending | None) -> Part:
        return {
            **{"id": self._id, "object": "response", "created_at": self._created, "model": self._model},
            **{"status": status, "error": None, "incomplete_details": None, "instructions": None, "metadata": {}},
            **{"output": list(self._items), "parallel_tool_calls": True, "tool_choice": "auto", "tools": []},
            **{"temperature": 1.0, "top_p": 1.0, "usage": _usage(ending.completion) if ending else None},
        }

    def _event(self, kind: str, **members: object) -> bytes:
        payload = compact({"type": kind, "sequence_number": self._number, **members})
        self._number += 1
        return f"event: {kind}\ndata: {payload}\n\n".encode()


def parse_responses(body: Mapping[str, object], card: ModelCard) -> GenerationRequest:
    """A request of `/v1/responses`.

    Raises:
        RequestError: a field is of the wrong type, or asks for what this server does not do.
    """
    for name in _STATEFUL:
        if body.get(name):
            raise RequestError(f"{name}: this server keeps no answers; send the whole conversation as input")
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    refuse_thinking(None if effort == "none" else effort, card.name)
    limit = {"max_tokens": body[_LIMIT]} if body.get(_LIMIT) is not None else {}
    job = Job(
        messages=_messages(body, card),
        tools=tools_of(body, card),
        schema=_schema(body, card),
        sampling=v1_sampling({**body, **limit}),
    )
    return v1_request(body, job=chosen(job, body.get("tool_choice")), form=ResponsesForm(model_of(body)))


def _messages(body: Mapping[str, object], card: ModelCard) -> tuple[Message, ...]:
    given, instructions = body.get("input"), body.get("instructions")
    if isinstance(given, str) and given:
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise RequestError("input: want a text or a list of one item or more")
    items = [{"role": "system", "content": instructions}] if isinstance(instructions, str) and instructions else []
    messages = [_message(item, index, card) for index, item in enumerate([*items, *given])]
    return tuple(message for message in messages if message is not None)


def _message(item: object, index: int, card: ModelCard) -> Message | None:
    """An item as a message; None for a reasoning, which is not sent to the model again."""
    if not isinstance(item, dict):
        raise RequestError(f"input[{index}]: want an object")
    kind = item.get("type") or "message"
    if kind == "reasoning":
        return None
    if kind == "function_call":
        call = {"name": item.get("name"), "arguments": item.get("arguments")}
        item = {"role": "assistant", "tool_calls": [call]}
    elif kind == "function_call_output":
        item = {"role": "tool", "content": item.get("output")}
    elif kind != "message":
        raise RequestError(f"input[{index}]: this server does not know items of type {kind!r}")
    role = "system" if item.get("role") == "developer" else item.get("role")
    content = _joined(item.get("content"), index) if "content" in item else ""
    return as_message({**item, "role": role, "content": content}, index, card)


def _joined(content: object, index: int) -> object:
    """Parts of text as one text."""
    if not isinstance(content, list):
        return content
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") in _TEXT_PARTS]
    if len(texts) < len(content) or not all(isinstance(text, str) for text in texts):
        raise RequestError(f"input[{index}]: this server takes parts of type input_text and output_text only")
    return "".join(map(str, texts))


def _schema(body: Mapping[str, object], card: ModelCard) -> Mapping[str, object] | None:
    text = body.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    if wanted is None or (isinstance(wanted, dict) and wanted.get("type") == "text"):
        return None
    if not isinstance(wanted, dict) or "tools" not in card.capabilities:
        raise RequestError("text.format: this server writes text only")
    schema = wanted.get("schema")
    return schema if isinstance(schema, dict) else {"type": "object"}


def _part(text: str) -> Part:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(call: ToolCall) -> Part:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    ids = {"id": f"fc_{uuid.uuid4().hex}", "call_id": call_id()}
    return {"type": "function_call", "status": "completed", **ids, "name": call.name, "arguments": arguments}


def _usage(done: Completion | None) -> Part:
    prompt, answer = (done.prompt_eval_count, done.eval_count) if done is not None else (0, 0)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + answer,
    }
