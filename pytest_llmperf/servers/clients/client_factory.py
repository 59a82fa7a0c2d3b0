"""A control client for an instance, of the kind that its API needs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmperf.servers.clients.ollama_client import Control
from pytest_llmperf.servers.clients.openai_client import OpenAIControl

if TYPE_CHECKING:
    from pytest_llmperf.model import Instance


def client_of(instance: Instance, *, timeout_s: float = 120.0, until_s: float = math.inf) -> Control:
    """A client for the instance's API; `until_s` is the moment of the monotonic clock at which it gives up."""
    kind = OpenAIControl if instance.api == "openai" else Control
    label = f"instance {instance.name}"
    return kind(instance.url, label=label, timeout_s=timeout_s, until_s=until_s, access=instance.access)
