"""The forms of answers, and how the first object tells which form it is.

The path and the content type do not decide, because servers and proxies often give wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_llmperf.measure.decoding import embedding_records, messages_records, responses_records
from pytest_llmperf.measure.decoding.stream_records import Object, Part, is_chunk, is_whole, ollama, v1
from pytest_llmperf.model.endpoints import Dialect

ENDINGS = {
    Dialect.OLLAMA: b'{"done":true,"done_reason":"stop"}\n',
    Dialect.CHUNKS: b'\ndata: {"choices":[{"index":0,"delta":{},"text":"","finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}\n\ndata: [DONE]\n\n',
    Dialect.RESPONSES: responses_records.ending(),
    Dialect.MESSAGES: messages_records.ending(),
    Dialect.EMBEDDINGS: embedding_records.ending(),
}
"""By dialect, the bytes that complete an answer that its server did not end because its agent had left."""


_ALIVE = ("ping", "keepalive")
"""Types of events that only keep a connection alive; some servers send them without a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form of one answer.

    Attributes:
        read: reads its next object.
        end: what ends it, for errors.
        marked: whether `[DONE]` ends it.
        typed: whether its events say their `type`.
    """

    read: Callable[[Object], Part]
    end: str
    marked: bool = False
    typed: bool = False

    def takes(self, chunk: Object, *, named: bool) -> bool:
        """Whether an object is a part of the answer; events of other kinds say nothing."""
        if not (named or chunk.get("type") in _ALIVE):
            return True
        return is_chunk(chunk) or (self.typed and isinstance(chunk.get("type"), str))


def form_of(chunk: Object, *, in_events: bool, named: bool) -> Form | None:
    """The form of an answer with this first object; None if it is an event of another kind, before the answer.

    Args:
        chunk: the object.
        in_events: whether the body is an event stream.
        named: whether it came as an event with a name of its own.
    """
    kind = chunk.get("type")
    kind = kind if isinstance(kind, str) else ""
    if chunk.get("object") == responses_records.OBJECT or kind.startswith(responses_records.PREFIX):
        return Form(read=responses_records.ResponsesReader().read, end="`response.completed`", typed=True)
    if messages_records.is_message(chunk):
        return Form(read=messages_records.MessagesReader().read, end="`message_stop`", typed=True)
    if embedding_records.has_embeddings(chunk):
        return Form(read=embedding_records.read_embeddings, end="its embeddings")
    if (named or kind in _ALIVE) and not is_chunk(chunk):
        return None
    if "choices" in chunk or (in_events and "done" not in chunk):
        return Form(read=v1 if in_events else _v1_line, end="[DONE]", marked=True)
    return Form(read=ollama, end="`done`")


def _v1_line(chunk: Object) -> Part:
    """A chunk, or the whole answer, which then ends it."""
    return v1(chunk)._replace(done=is_whole(chunk))
