"""What one JSON object of an answer says: Ollama's (`/api/generate`, `/api/chat`) and OpenAI's (`/v1`)."""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import repr as short_repr
from typing import Any, NamedTuple

from pytest_llmperf.measure.framing import error_text

_LARGEST = 2**63 - 1  # what a server's own integers hold
_OLLAMA_FIGURES = {
    "eval_count": "eval_count",
    "prompt_eval_count": "prompt_eval_count",
    "total_duration_ns": "total_duration",
    "load_duration_ns": "load_duration",
    "prompt_eval_duration_ns": "prompt_eval_duration",
    "eval_duration_ns": "eval_duration",
}
_V1_FIGURES = {"eval_count": "completion_tokens", "prompt_eval_count": "prompt_tokens"}
_TIMINGS = {"prompt_eval_duration_ns": "prompt_ms", "eval_duration_ns": "predicted_ms"}

Object = dict[str, Any]


class Reported(ValueError):
    """The server's own error in place of a part."""


class Part(NamedTuple):
    """What an object adds to the answer.

    Attributes:
        text: thinking and text.
        content: whether it counts as a content chunk: text, thinking or a tool call.
        done: whether it ends the answer.
        reason: why the answer ended; empty where it does not say.
        figures: the server's counts and durations, by the names of RequestTiming.
    """

    text: str = ""
    content: bool = False
    done: bool = False
    reason: str = ""
    figures: Mapping[str, int] = {}


def ollama(chunk: Object) -> Part:
    """One object of Ollama's API; the one with `done` has the figures.

    Raises:
        ValueError: an `error`, or a member that is missing or of the wrong type.
    """
    _check_error(chunk)
    message = chunk.get("message", chunk)
    if not isinstance(message, dict):
        raise _wrong("message", message, "an object")
    text = _string(message, "thinking") + _string(message, "response") + _string(message, "content")
    content = bool(text or message.get("tool_calls"))
    if chunk.get("done") is True:
        return Part(text, content, True, _string(chunk, "done_reason"), _figures(chunk, _OLLAMA_FIGURES))
    if not content and "response" not in chunk and "message" not in chunk and "done" not in chunk:
        raise ValueError(f"neither Ollama's nor an OpenAI-compatible answer: {short_repr(chunk)}")
    return Part(text, content)


def v1(chunk: Object) -> Part:
    """One object of an OpenAI-compatible answer, streamed (`delta`) or not (`message`), chat or completion (`text`).

    It never ends the answer: a stream ends with `[DONE]`, and an answer that is not streamed has one object.

    Raises:
        ValueError: an `error`, or a member that is missing or of the wrong type.
    """
    _check_error(chunk)
    choices, usage = chunk.get("choices"), chunk.get("usage")
    if choices is None and usage is None:
        raise ValueError(f"neither `choices` nor `usage`: {short_repr(chunk)}")
    if not isinstance(choices, list | None):
        raise _wrong("choices", choices, "a list")
    if not isinstance(usage, dict | None):
        raise _wrong("usage", usage, "an object")
    text, content, reason = "", False, ""
    for choice in choices or ():
        if not isinstance(choice, dict):
            raise _wrong("choices", choices, "a list of objects")
        said = choice.get("delta") or choice.get("message") or choice
        if not isinstance(said, dict):
            raise _wrong("delta", said, "an object")
        text += _string(said, "reasoning_content") or _string(said, "reasoning")
        text += _string(said, "content") + _string(said, "text") + _string(said, "refusal")
        content = content or bool(text or said.get("tool_calls") or said.get("function_call"))
        reason = _string(choice, "finish_reason") or reason
    figures = {**(_figures(usage, _V1_FIGURES) if usage else {}), **_timings(chunk.get("timings"))}
    return Part(text, content, False, reason, figures)


def _timings(timings: object) -> dict[str, int]:
    """Durations that llama-server adds to what OpenAI's API has, from ms; what is no such object is left alone."""
    if not isinstance(timings, dict):
        return {}
    figures = {}
    for ours, theirs in _TIMINGS.items():
        value = timings.get(theirs)
        if isinstance(value, int | float) and 0 <= value <= _LARGEST / 1e6:
            figures[ours] = round(value * 1e6)
    return figures


def _check_error(chunk: Object) -> None:
    """An `error` is the server's own; null is none."""
    if chunk.get("error") is not None:
        raise Reported(f"the server reported an error in mid-stream: {error_text(chunk['error'])}")


def _string(holder: Object, name: str) -> str:
    """A text; absent and null are empty."""
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(name, value, "a text")
    return value


def _figures(holder: Object, names: Mapping[str, str]) -> dict[str, int]:
    """Counts, and durations in nanoseconds; absent and null are 0: Ollama omits zeros."""
    found = {}
    for ours, theirs in names.items():
        value = holder.get(theirs)
        if value is None:
            value = 0
        if type(value) is not int or not 0 <= value <= _LARGEST:  # to Python, true is a number
            raise _wrong(theirs, value, "a whole number from 0 to 2**63 - 1")
        found[ours] = value
    return found


def _wrong(name: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"`{name}` is {short_repr(value)}, wanted {wanted}")
