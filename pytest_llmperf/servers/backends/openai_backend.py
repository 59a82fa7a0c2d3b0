"""The openai backend: running servers that speak OpenAI's API, with the metrics that it can give."""

from __future__ import annotations

from dataclasses import replace

from pytest_llmperf.model import Settings
from pytest_llmperf.servers.backends.attach import AttachBackend


class OpenAIBackend(AttachBackend):
    """Uses running servers; see AttachBackend. The plugin loads and unloads nothing there, so it restores nothing."""

    kind = "openai"
    api = "openai"

    def __init__(self, urls: tuple[str, ...], settings: Settings, reason: str) -> None:
        # the base address is often given with the version in it
        bare = tuple(url.rstrip("/").removesuffix("/v1") for url in urls)
        super().__init__(bare, replace(settings, urls=bare), reason)
