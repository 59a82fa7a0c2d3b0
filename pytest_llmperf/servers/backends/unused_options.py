"""Server options that a backend does not use: the user must know that they had no effect."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmperf.model import Settings

_OPTIONS: Mapping[str, str] = {
    "model": "model",
    "gguf": "gguf",
    "ports": "ports",
    "threads": "threads",
    "gpus": "gpus",
    "pull": "pull",
    "ollama_bin": "ollama-bin",
    "auth": "auth",
    "ca_file": "ca",
    "proxy": "proxy",
    "proxy_auth": "proxy-auth",
    "script": "script",
}
"""By field of Settings, the option; those that are an error beside a backend that cannot use them are left out."""

_REACHING = ("auth", "ca_file", "proxy", "proxy_auth", "model")
_USED: Mapping[str, frozenset[str]] = {
    "attach": frozenset((*_REACHING, "threads")),
    "openai": frozenset(_REACHING),
    "ollama": frozenset(("model", "gguf", "ports", "threads", "gpus", "pull", "ollama_bin")),
    "embedded": frozenset(("model", "gguf", "ports", "threads")),
    "simulated": frozenset(("ports", "script")),
}
"""By backend, the fields that it uses."""


def unused(settings: Settings, kind: str) -> str:
    """The given options that the backend in force does not use, in words; empty if there are none.

    >>> unused(Settings(gguf="/x.gguf", threads=2), "attach")
    'backend attach does not use --llmperf-gguf'
    """
    usual, used = Settings(), _USED.get(kind, frozenset(_OPTIONS))
    if settings.backend == "auto":
        used |= {"ollama_bin"}  # the plugin searched for Ollama
    idle = [
        f"--llmperf-{option}"
        for field, option in _OPTIONS.items()
        if field not in used and getattr(settings, field) != getattr(usual, field)
    ]
    return f"backend {kind} does not use {', '.join(idle)}" if idle else ""
