"""Reads the one object of an answer with embeddings: Ollama's two endpoints, and OpenAI's."""

from __future__ import annotations

from pytest_llmperf.measure.decoding.stream_records import (
    Object,
    Part,
    check_error,
    figures_of,
    usage_of,
    wrong,
)

_FIGURES = {
    "prompt_eval_count": "prompt_eval_count",
    "total_duration_ns": "total_duration",
    "load_duration_ns": "load_duration",
}
_V1_FIGURES = {"prompt_eval_count": "prompt_tokens"}
_VECTORS = ("embeddings", "embedding", "data")


def has_embeddings(chunk: Object) -> bool:
    """Whether an object is such an answer."""
    return "choices" not in chunk and any(isinstance(chunk.get(name), list) for name in _VECTORS)


def read_embeddings(chunk: Object) -> Part:
    """The answer, whose vectors are not looked at.

    Raises:
        ValueError: an `error`, or a member of the wrong type.
    """
    check_error(chunk)
    if not has_embeddings(chunk):
        raise wrong("embeddings", chunk.get("embeddings"), "a list")
    figures = {**figures_of(chunk, _FIGURES), **figures_of(usage_of(chunk), _V1_FIGURES)}
    return Part(done=True, embedding=True, figures=figures)


def ending() -> bytes:
    """An answer that may stand for that of a cancelled request."""
    return b'{"embeddings":[]}\n'
