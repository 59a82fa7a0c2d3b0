"""Reads the events of `/v1/responses`, or its one object."""

from __future__ import annotations

import json

from pytest_llmperf.measure.decoding.stream_records import (
    Object,
    Part,
    Reported,
    check_error,
    figures_of,
    hidden_of,
    joined,
    object_of,
    objects_of,
    string_of,
    type_of,
    usage_of,
)
from pytest_llmperf.net.server_refusals import error_of

OBJECT = "response"
"""`object` of a whole answer."""

PREFIX = "response."
"""How the types of all events begin."""

_FIGURES = {"eval_count": "output_tokens", "prompt_eval_count": "input_tokens"}
_REASONS = {"completed": "stop", "max_output_tokens": "length"}
_ENDS = ("response.completed", "response.incomplete")
_FAILURES = ("failed", "cancelled")
_TEXTS = ("response.output_text.delta", "response.refusal.delta")
_CALLS = ("function_call", "custom_tool_call")
"""Items by which the model asks the client to do something."""


class ResponsesReader:
    """The events of one answer.

    An item whose server sends no deltas for it counts when it is done; a whole text that only the last event has, then.
    """

    def __init__(self) -> None:
        self._told: set[int | str] = set()
        self._any = False

    def read(self, chunk: Object) -> Part:
        """One event, or the whole answer.

        Raises:
            ValueError: an `error`, an answer that the server gave up, or a member of the wrong type.
        """
        check_error(chunk)
        if chunk.get("object") == OBJECT:
            return _whole(chunk)
        kind = type_of(chunk)
        if kind.endswith(".delta"):
            return self._delta(kind, chunk)
        if kind == "response.output_item.done":
            return self._item(chunk)
        if kind in _ENDS or kind.removeprefix(PREFIX) in _FAILURES:
            end = _whole(object_of(chunk, "response"), status=kind.removeprefix(PREFIX))
            return end._replace(text="", thinking="", content=False, calls=False) if self._any else end
        return Part()

    def _delta(self, kind: str, chunk: Object) -> Part:
        """A piece; of the arguments of a call, or of a form that has no text, it has none."""
        self._any = True
        self._told.add(_name(chunk, chunk, "item_id") or _group(kind.removeprefix(PREFIX)))
        if kind.startswith("response.reasoning"):
            return Part(thinking=string_of(chunk, "delta"))
        if kind in _TEXTS:
            text = string_of(chunk, "delta")
            return Part(text=text, content=bool(text))
        return Part(content=True, calls=True)

    def _item(self, chunk: Object) -> Part:
        """An item that is complete; it says nothing new if its deltas came."""
        item = object_of(chunk, "item")
        if (_name(chunk, item, "id") or _group(string_of(item, "type"))) in self._told:
            return Part()
        part = _item(item)
        self._any = self._any or part.content or bool(part.thinking)
        return part


def _whole(answer: Object, status: str = "") -> Part:
    """A whole answer, or what the last event has of it.

    Args:
        answer: the response.
        status: the event's status; empty: the answer's status counts.
    """
    status = status or string_of(answer, "status") or "completed"
    if status in _FAILURES:
        raise Reported(error_of(answer) or f"status {status}")
    if status in ("queued", "in_progress"):
        raise ValueError(f"the answer is {status}: it is made in the background, and its end is not in these bytes")
    usage = usage_of(answer)
    details = answer.get("incomplete_details")
    reason = string_of(details, "reason") if isinstance(details, dict) else ""
    reason = reason if status == "incomplete" and reason else status
    return joined(map(_item, objects_of(answer, "output")))._replace(
        done=True,
        reason=_REASONS.get(reason, reason),
        figures=figures_of(usage, _FIGURES),
        hidden=hidden_of(usage, "output_tokens_details"),
    )


def _item(item: Object) -> Part:
    """An item of the output; of a kind that the server itself works on, it says nothing."""
    kind = string_of(item, "type")
    if kind in _CALLS:
        return Part(content=True, calls=True)
    if kind == "reasoning":
        return Part(thinking=_texts(item, "summary") + _texts(item, "content"))
    text = _texts(item, "content") if kind == "message" else ""
    return Part(text=text, content=bool(text))


def _texts(item: Object, name: str) -> str:
    """The texts of an item's parts."""
    return "".join(string_of(part, "text") + string_of(part, "refusal") for part in objects_of(item, name))


def _name(chunk: Object, holder: Object, key: str) -> int | str:
    """The place of an event's item, counted from 1, or the item's id; empty if the event has neither."""
    index = chunk.get("output_index")
    return index + 1 if type(index) is int and index >= 0 else string_of(holder, key)


def _group(kind: str) -> str:
    """The kind of an item, in place of its name if the server gives none."""
    if kind.startswith("reasoning"):
        return "reasoning"
    return "message" if kind.startswith(("message", "output_text", "refusal")) else "call"


def ending() -> bytes:
    """The last event of an answer, as the server of a cancelled request might have written it."""
    event = {"type": "response.completed", "response": {"object": OBJECT, "status": "completed"}}
    return b"\ndata: " + json.dumps(event).encode() + b"\n\n"
