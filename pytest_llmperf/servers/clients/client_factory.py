"""A client for an instance, for the API that the instance speaks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.clients.openai_client import OpenAIClient

if TYPE_CHECKING:
    from pytest_llmperf.model import Instance
    from pytest_llmperf.servers.clients.server_client import ServerClient


def client_of(instance: Instance, *, timeout_s: float = 120.0) -> ServerClient:
    """A client for the instance's API; `timeout_s` limits a request that may load a model."""
    if instance.api == "openai":
        label = f"instance {instance.name}"
        return OpenAIClient(instance.url, label=label, timeout_s=timeout_s, access=instance.access)
    return ollama_client_of(instance, timeout_s=timeout_s)


def ollama_client_of(instance: Instance, *, timeout_s: float = 120.0, until_s: float = math.inf) -> OllamaClient:
    """A client for an instance with Ollama's API; `until_s` is the time on the monotonic clock when it gives up."""
    label = f"instance {instance.name}"
    return OllamaClient(instance.url, label=label, timeout_s=timeout_s, until_s=until_s, access=instance.access)
