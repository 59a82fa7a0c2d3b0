"""The endpoints that generate text or embeddings: the tap times them, and the emulator answers them.

To add one, add a row here and, if its answers have a new form, a dialect in `measure.decoding.dialects`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Dialect(StrEnum):
    """The form of an endpoint's answers."""

    OLLAMA = "JSON lines"
    CHUNKS = "events with `choices`, then `[DONE]`"
    RESPONSES = "named events, `response.*`"
    MESSAGES = "named events, `message_*` and `content_block_*`"
    EMBEDDINGS = "one object"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint that is timed.

    Attributes:
        path: below the server's base address.
        dialect: the form of its answers; an answer that is not streamed is one object of the same dialect.
        first_token: what ends the TTFT, in words; empty for embeddings, which have none.
        reasoning: what ends the TTFT of reasoning, in words.
        counts: where the answer has its token counts, in words.
    """

    path: str
    dialect: Dialect
    first_token: str = ""
    reasoning: str = ""
    counts: str

    @property
    def embeds(self) -> bool:
        """Whether it answers with embeddings, not with text."""
        return self.dialect is Dialect.EMBEDDINGS


_OLLAMA_COUNTS = "`eval_count` and `prompt_eval_count` of the last line"
_V1_COUNTS = "`usage`; in a stream only with `stream_options.include_usage`"

ENDPOINTS = (
    Endpoint(
        path="/api/generate",
        dialect=Dialect.OLLAMA,
        first_token="first `response` that is not empty",
        reasoning="first `thinking`",
        counts=_OLLAMA_COUNTS,
    ),
    Endpoint(
        path="/api/chat",
        dialect=Dialect.OLLAMA,
        first_token="first `message` with `content` or `tool_calls`",
        reasoning="first `thinking`",
        counts=_OLLAMA_COUNTS,
    ),
    Endpoint(
        path="/v1/chat/completions",
        dialect=Dialect.CHUNKS,
        first_token="first delta with `content`, `refusal` or `tool_calls`, of any choice",
        reasoning="first `reasoning` or `reasoning_content`",
        counts=_V1_COUNTS,
    ),
    Endpoint(
        path="/v1/completions",
        dialect=Dialect.CHUNKS,
        first_token="first `text` that is not empty",
        reasoning="first `reasoning` or `reasoning_content`",
        counts=_V1_COUNTS,
    ),
    Endpoint(
        path="/v1/responses",
        dialect=Dialect.RESPONSES,
        first_token="first `*.delta` that is not reasoning: output text, refusal, arguments of a tool call",
        reasoning="first `response.reasoning*.delta`",
        counts="`usage` of `response.completed`",
    ),
    Endpoint(
        path="/v1/messages",
        dialect=Dialect.MESSAGES,
        first_token="first `content_block_delta` with `text_delta` or `input_json_delta`",
        reasoning="first `thinking_delta`",
        counts="`usage` of `message_start` (input) and of `message_delta` (output)",
    ),
    Endpoint(path="/api/embed", dialect=Dialect.EMBEDDINGS, counts="`prompt_eval_count`"),
    Endpoint(path="/api/embeddings", dialect=Dialect.EMBEDDINGS, counts="none"),
    Endpoint(path="/v1/embeddings", dialect=Dialect.EMBEDDINGS, counts="`usage`"),
)
"""Every endpoint that is timed, if the method is POST."""

_CONTROL = (
    *("/api/version", "/api/tags", "/api/ps", "/api/show", "/api/status", "/api/me", "/api/signout"),
    *("/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete"),
    *("/v1/models", "/v1/messages/count_tokens", "/version", "/health", "/ping", "/props", "/slots", "/metrics"),
    *("/tokenize", "/detokenize", "/apply-template"),
)
_CONTROL_BELOW = ("/api/blobs", "/v1/models")


def endpoint_of(method: str, path: str) -> Endpoint | None:
    """The endpoint that a request asks; None if it is not timed.

    A server may be below a path of its own.

    >>> endpoint_of("POST", "/team/v1/chat/completions/").path
    '/v1/chat/completions'
    """
    path = path.rstrip("/")
    return next((row for row in ENDPOINTS if method == "POST" and path.endswith(row.path)), None)


def is_control(method: str, path: str) -> bool:
    """Whether a request is known to generate nothing.

    >>> is_control("GET", "/"), is_control("POST", "/api/show"), is_control("POST", "/v1/rerank")
    (True, True, False)
    >>> is_control("GET", "/v1/models/gemma3"), is_control("POST", "/v1/models/gemma3:generateContent")
    (True, False)
    """
    path = path.rstrip("/")
    below = path.rpartition("/")[0].endswith(_CONTROL_BELOW) and (method != "POST" or "/api/blobs/" in path)
    return not path or path.endswith(_CONTROL) or below
