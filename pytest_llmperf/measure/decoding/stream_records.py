"""Reads one JSON object of an answer: Ollama's (`/api/generate`, `/api/chat`) or OpenAI's (`/v1`, with `choices`).

The other forms are in modules of their own, which `dialects` lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from reprlib import repr as short_repr
from typing import Any, NamedTuple

from pytest_llmperf.net.server_refusals import error_of, server_text

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
_FAILURES = ("error", "abort")
"""Values of `finish_reason` of answers that the server gave up: OpenRouter's and vLLM's."""

_TIMINGS = {"prompt_eval_duration_ns": "prompt_ms", "eval_duration_ns": "predicted_ms"}

Object = dict[str, Any]


class Reported(ValueError):
    """The server's own error in place of a part.

    Attributes:
        text: the server's, whole.
    """

    def __init__(self, text: str) -> None:
        super().__init__(f"the server reported an error in mid-stream: {server_text(text) or 'no text'}")
        self.text = text


class Part(NamedTuple):
    """What an object adds to the answer.

    Attributes:
        text: the model's text.
        thinking: the model's thoughts.
        content: whether it counts as a content chunk: text or a tool call.
        calls: whether it has a tool call.
        hidden: tokens of thoughts that are counted but not shown.
        done: whether it ends the answer.
        reason: why the answer ended; empty if it does not say.
        figures: the server's counts and durations, by the names of RequestTiming; only those that it gives.
        choices: the indices of the choices that it adds to.
        finished: the indices of the choices that it completes.
        embedding: whether it is an embedding, which has no tokens of its own.
    """

    text: str = ""
    thinking: str = ""
    content: bool = False
    calls: bool = False
    hidden: int = 0
    done: bool = False
    reason: str = ""
    figures: Mapping[str, int] = {}
    choices: frozenset[int] = frozenset()
    finished: frozenset[int] = frozenset()
    embedding: bool = False


def ollama(chunk: Object) -> Part:
    """One object of Ollama's API; the one with `done` has the figures.

    Raises:
        ValueError: an `error`, or a member that is missing or of the wrong type.
    """
    check_error(chunk)
    message = chunk if chunk.get("message") is None else chunk["message"]
    if not isinstance(message, dict):
        raise wrong("message", message, "an object")
    thinking = string_of(message, "thinking")
    text = string_of(message, "response") + string_of(message, "content")
    calls = bool(message.get("tool_calls"))
    content = bool(text) or calls
    if chunk.get("done") is True:
        figures = figures_of(chunk, _OLLAMA_FIGURES)
        reason = string_of(chunk, "done_reason")
        return Part(text, thinking, content, calls=calls, done=True, reason=reason, figures=figures)
    if not (content or thinking) and "response" not in chunk and "message" not in chunk and "done" not in chunk:
        raise ValueError(f"neither Ollama's nor an OpenAI-compatible answer: {short_repr(chunk)}")
    return Part(text, thinking, content, calls=calls)


def v1(chunk: Object) -> Part:
    """One object of an OpenAI-compatible answer, streamed (`delta`) or not (`message`), chat or completion (`text`).

    It never ends the answer: a stream ends with `[DONE]`, or with the end of HTTP if every choice has its
    `finish_reason`; an answer that is not streamed has one object.

    Raises:
        ValueError: an `error`, an answer that the server gave up, or a member that is missing or of the wrong type.
    """
    check_error(chunk)
    if chunk.get("choices") is None and chunk.get("usage") is None:
        raise ValueError(f"neither `choices` nor `usage`: {short_repr(chunk)}")
    usage = usage_of(chunk)
    whole = Part(figures={**figures_of(usage, _V1_FIGURES), **_timings(chunk.get("timings"))}, hidden=hidden_of(usage))
    for choice in objects_of(chunk, "choices"):
        whole = _with_choice(whole, choice)
    return whole


def hidden_of(usage: Object, holder: str = "completion_tokens_details") -> int:
    """Tokens of thoughts that the usage counts, shown or not; anything that is not such a count is ignored."""
    details = usage.get(holder)
    count = details.get("reasoning_tokens") if isinstance(details, dict) else None
    return count if type(count) is int and 0 <= count <= _LARGEST else 0


def is_whole(chunk: Object) -> bool:
    """Whether an OpenAI-compatible object is a whole answer, and no chunk of a streamed one."""
    choices = chunk.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and ("message" in choice or "text" in choice) for choice in choices
    )


def is_chunk(chunk: Object) -> bool:
    """Whether an object is a part of an answer, or an error: else it is somebody's own event, and says nothing."""
    return any(chunk.get(name) is not None for name in ("choices", "usage", "done", "error")) or bool(
        "error" in (chunk.get("object"), chunk.get("type"))
    )


def _with_choice(whole: Part, choice: Object) -> Part:
    """What one choice adds."""
    said = choice.get("delta") or choice.get("message") or choice
    if not isinstance(said, dict):
        raise wrong("delta", said, "an object")
    thinking = string_of(said, "reasoning_content") or string_of(said, "reasoning")
    text = string_of(said, "content") + string_of(said, "text") + string_of(said, "refusal")
    reason = string_of(choice, "finish_reason")
    if reason in _FAILURES:
        raise Reported(f"finish_reason {reason}")
    index = choice.get("index")
    number = frozenset((index if isinstance(index, int) else 0,))
    calls = bool(said.get("tool_calls") or said.get("function_call"))
    return whole._replace(
        text=whole.text + text,
        thinking=whole.thinking + thinking,
        content=whole.content or bool(text) or calls,
        calls=whole.calls or calls,
        reason=reason or whole.reason,
        choices=whole.choices | number,
        finished=whole.finished | number if reason else whole.finished,
    )


def _timings(timings: object) -> dict[str, int]:
    """Durations that llama-server adds to OpenAI's API, from ms; anything that is not such an object is ignored."""
    if not isinstance(timings, dict):
        return {}
    figures = {}
    for ours, theirs in _TIMINGS.items():
        value = timings.get(theirs)
        if isinstance(value, int | float) and 0 <= value <= _LARGEST / 1e6:
            figures[ours] = round(value * 1e6)
    return figures


def check_error(chunk: Object) -> None:
    """The server's own error, in any of its shapes; null is none."""
    if (text := error_of(chunk)) is not None:
        raise Reported(text)


def string_of(holder: Object, name: str) -> str:
    """A text; absent and null are empty."""
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong(name, value, "a text")
    return value


def object_of(holder: Object, name: str) -> Object:
    """A member that must be an object."""
    value = holder.get(name)
    if not isinstance(value, dict):
        raise wrong(name, value, "an object")
    return value


def objects_of(holder: Object, name: str) -> list[Object]:
    """A list of objects; absent and null are empty."""
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(name, value, "a list")
    if not all(isinstance(item, dict) for item in value):
        raise wrong(name, value, "a list of objects")
    return value


def type_of(chunk: Object) -> str:
    """What kind of event it is; raises ValueError if it does not say."""
    kind = string_of(chunk, "type")
    if not kind:
        raise ValueError(f"an event without `type`: {short_repr(chunk)}")
    return kind


def usage_of(holder: Object) -> Object:
    """The usage; absent and null are empty."""
    usage = holder.get("usage")
    if not isinstance(usage, dict | None):
        raise wrong("usage", usage, "an object")
    return usage or {}


def joined(parts: Iterable[Part]) -> Part:
    """The content of several parts as one."""
    whole = Part()
    for part in parts:
        whole = whole._replace(
            text=whole.text + part.text,
            thinking=whole.thinking + part.thinking,
            content=whole.content or part.content,
            calls=whole.calls or part.calls,
        )
    return whole


def figures_of(holder: Object, names: Mapping[str, str]) -> dict[str, int]:
    """Counts, and durations in nanoseconds; absent and null are left out: Ollama omits zeros.

    Some servers write every number as a float: 24.0 tokens are 24, and 24.5 are none; durations are rounded.
    """
    figures = {}
    for ours, theirs in names.items():
        value = holder.get(theirs)
        if value is None:
            continue
        if type(value) is float and 0 <= value <= _LARGEST and (value.is_integer() or ours.endswith("_ns")):
            value = round(value)
        if type(value) is not int or not 0 <= value <= _LARGEST:  # to Python, true is a number
            raise wrong(theirs, value, "a whole number from 0 to 2**63 - 1")
        figures[ours] = value
    return figures


def wrong(name: str, value: object, wanted: str) -> ValueError:
    """The error for a member of the wrong type."""
    return ValueError(f"`{name}` is {short_repr(value)}, wanted {wanted}")
