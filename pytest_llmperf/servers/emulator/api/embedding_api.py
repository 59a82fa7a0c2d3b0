"""Embeddings: Ollama's `/api/embed` and `/api/embeddings`, and OpenAI's `/v1/embeddings`."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_llmperf.servers.emulator.api.answer_forms import Part
from pytest_llmperf.servers.emulator.api.request_bodies import model_of
from pytest_llmperf.servers.emulator.api.request_options import RequestError, parse_keep_alive, parse_options
from pytest_llmperf.servers.emulator.engine import Embeddings, LoadOptions, ModelCard


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """The requested embeddings.

    Attributes:
        texts: the texts to embed.
        load: options of the loaded model; None = as it is loaded.
        keep_alive_s: seconds to keep the model loaded afterwards; None = as before.
        answer: writes the vectors; gets the total and the load duration, ns.
    """

    texts: tuple[str, ...]
    load: LoadOptions | None
    keep_alive_s: float | None
    answer: Callable[[Embeddings, int, int], Part]


def parse_embed(body: Mapping[str, object], card: ModelCard) -> EmbeddingRequest:
    """A request of `/api/embed`. Raises RequestError."""
    model = model_of(body)
    return _request(
        body,
        card,
        "input",
        lambda done, total_ns, load_ns: {
            "model": model,
            "embeddings": done.vectors,
            "total_duration": total_ns,
            "load_duration": load_ns,
            "prompt_eval_count": done.prompt_eval_count,
        },
    )


def parse_embeddings(body: Mapping[str, object], card: ModelCard) -> EmbeddingRequest:
    """A request of `/api/embeddings`, the older one. Raises RequestError."""
    if not isinstance(body.get("prompt"), str):
        raise RequestError("prompt: want a text")
    return _request(body, card, "prompt", lambda done, *_: {"embedding": done.vectors[0]})


def parse_v1_embeddings(body: Mapping[str, object], card: ModelCard) -> EmbeddingRequest:
    """A request of `/v1/embeddings`. Raises RequestError."""
    model, coding = model_of(body), body.get("encoding_format") or "float"
    if coding not in ("float", "base64"):
        raise RequestError("encoding_format: want float or base64")

    def answer(done: Embeddings, *_: int) -> Part:
        vectors = [_coded(vector) if coding == "base64" else vector for vector in done.vectors]
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)],
            "model": model,
            "usage": {"prompt_tokens": done.prompt_eval_count, "total_tokens": done.prompt_eval_count},
        }

    return _request(body, card, "input", answer)


def _request(
    body: Mapping[str, object], card: ModelCard, name: str, answer: Callable[[Embeddings, int, int], Part]
) -> EmbeddingRequest:
    if "embedding" not in card.capabilities:
        raise RequestError(f'"{card.name}" does not support embeddings')
    if body.get("dimensions"):
        raise RequestError("dimensions is not supported by this server; leave it out")
    given = body.get(name)
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise RequestError(f"{name}: want a text or a list of texts")
    options = body.get("options")
    if not isinstance(options, dict | None):
        raise RequestError("options: want an object")
    return EmbeddingRequest(
        texts=tuple(texts),
        load=parse_options(options)[0] if options else None,
        keep_alive_s=parse_keep_alive(body.get("keep_alive")),
        answer=answer,
    )


def _coded(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
