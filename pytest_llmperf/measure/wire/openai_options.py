"""What our agents ask of an OpenAI-compatible server."""

from __future__ import annotations

from pytest_llmperf.model import GenerationOptions, Think

_NAMES = {"num_predict": "max_tokens", "stop": "stop", "seed": "seed", "temperature": "temperature", "top_p": "top_p",
          "top_k": "top_k"}  # fmt: skip
"""Ours and theirs; what a request there cannot set (context, threads, layers on the GPU) is the server's own affair."""


def v1_options(model: str, options: GenerationOptions, think: Think | None = None) -> dict[str, object]:
    """The body of a streamed request, without its messages; the token counts are asked for.

    `top_k` is no part of OpenAI's API, but of those that run on one's own machines; it is sent where it is set. There,
    `think` is called `reasoning_effort`, with `none` for no thoughts; thoughts of no stated amount have no name.
    """
    set_here = options.as_request()
    effort = {} if think in (None, True) else {"reasoning_effort": think or "none"}
    return {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        **effort,
        **{theirs: set_here[ours] for ours, theirs in _NAMES.items() if ours in set_here},
    }
