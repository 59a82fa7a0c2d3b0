"""The body of a built-in agent's request to an OpenAI-compatible server."""

from __future__ import annotations

from pytest_llmperf.model import GenerationOptions, Think

_NAMES = {"num_predict": "max_tokens", "stop": "stop", "seed": "seed", "temperature": "temperature", "top_p": "top_p",
          "top_k": "top_k"}  # fmt: skip
"""Ours and theirs; what a request there cannot set (context, threads, layers on the GPU) is the server's own affair."""


def v1_options(model: str, options: GenerationOptions, think: Think | None = None) -> dict[str, object]:
    """The body of a streamed request, without its messages; it requests the token counts.

    `top_k` is not part of OpenAI's API, but local servers accept it; it is sent if it is set. OpenAI's API has
    `reasoning_effort` in place of `think`, with `none` for no thoughts; it cannot express `True`, thoughts without a
    level.
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
