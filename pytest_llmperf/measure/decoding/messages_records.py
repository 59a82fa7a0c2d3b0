"""Reads the events of `/v1/messages` (Anthropic's API), or its one object."""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmperf.measure.decoding.stream_records import (
    Object,
    Part,
    check_error,
    figures_of,
    joined,
    object_of,
    objects_of,
    string_of,
    type_of,
    usage_of,
)

_WHOLE = "message"

_START = "message_start"
_EVENTS = (
    *("message_delta", "message_stop"),
    *("content_block_start", "content_block_delta", "content_block_stop"),
)

_INPUTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""Counts of prompt tokens that exclude each other."""

_COUNTS = {name: name for name in (*_INPUTS, "output_tokens")}
_REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
_ONE = frozenset((0,))


def is_message(chunk: Object) -> bool:
    """Whether an object is of this API: an event of a stream, or a whole answer."""
    kind = chunk.get("type")
    if kind == _START:
        return isinstance(chunk.get("message"), dict)
    return kind in _EVENTS or (kind == _WHOLE and isinstance(chunk.get("content"), list))


class MessagesReader:
    """Reads the events of one answer.

    The counts in `message_delta` replace the counts in `message_start`, which may be estimates. A tool call without
    arguments counts when its block ends.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._silent: set[int] = set()
        self._readers: dict[str, Callable[[Object], Part]] = {
            _WHOLE: self._whole,
            _START: lambda chunk: self._start(object_of(chunk, "message")),
            "content_block_start": self._block,
            "content_block_delta": self._delta,
            "content_block_stop": self._stop,
            "message_delta": lambda chunk: self._end(object_of(chunk, "delta"), chunk, Part()),
            "message_stop": lambda _: Part(done=True),
        }

    def read(self, chunk: Object) -> Part:
        """One event, or the whole answer.

        Raises:
            ValueError: an `error`, or a member of the wrong type.
        """
        check_error(chunk)
        reader = self._readers.get(type_of(chunk))
        return reader(chunk) if reader else Part()

    def _whole(self, chunk: Object) -> Part:
        return self._start(chunk)._replace(done=True)

    def _start(self, message: Object) -> Part:
        return self._end(message, message, joined(map(_whole_block, objects_of(message, "content"))))

    def _block(self, chunk: Object) -> Part:
        """A block begins, mostly empty; a tool call counts with its first delta."""
        block = object_of(chunk, "content_block")
        if not _calls(block):
            return _whole_block(block)
        self._silent.add(_index(chunk))
        return Part()

    def _delta(self, chunk: Object) -> Part:
        """A piece of a block; signatures and citations are none."""
        delta = object_of(chunk, "delta")
        kind = string_of(delta, "type")
        if kind == "input_json_delta":
            self._silent.discard(_index(chunk))
            return Part(content=True, calls=True)
        text = string_of(delta, "text") if kind == "text_delta" else ""
        thinking = string_of(delta, "thinking") if kind == "thinking_delta" else ""
        return Part(text=text, thinking=thinking, content=bool(text))

    def _stop(self, chunk: Object) -> Part:
        """A block ends; a tool call that had no arguments counts now."""
        calls = _index(chunk) in self._silent
        return Part(content=calls, calls=calls)

    def _end(self, told: Object, holder: Object, part: Part) -> Part:
        """A part with the reason, if there is one, and with the counts so far."""
        self._counts |= figures_of(usage_of(holder), _COUNTS)
        reason = string_of(told, "stop_reason")
        inputs = [self._counts[name] for name in _INPUTS if name in self._counts]
        figures = {"prompt_eval_count": sum(inputs)} if inputs else {}
        if "output_tokens" in self._counts:
            figures["eval_count"] = self._counts["output_tokens"]
        return part._replace(
            reason=_REASONS.get(reason, reason),
            figures=figures,
            choices=_ONE,
            finished=_ONE if reason else frozenset(),
        )


def _whole_block(block: Object) -> Part:
    text, calls = string_of(block, "text"), _calls(block)
    return Part(text=text, thinking=string_of(block, "thinking"), content=bool(text) or calls, calls=calls)


def _calls(block: Object) -> bool:
    """Whether a block is a tool call, of a tool of the client's or of the server's."""
    return string_of(block, "type").endswith("tool_use")


def _index(chunk: Object) -> int:
    index = chunk.get("index")
    return index if type(index) is int else 0


def ending() -> bytes:
    """The last event of an answer, as the server of a cancelled request might have written it."""
    return b'\ndata: {"type":"message_stop"}\n\n'
