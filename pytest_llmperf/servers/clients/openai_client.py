"""A client of an OpenAI-compatible server (vLLM, llama-server, LM Studio and others), for requests that are not timed.

Such a server lists its models, and some report their version. It loads and unloads models by itself, without any
report.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmperf.errors import ServerError, printable
from pytest_llmperf.net.untrusted_json import parsed_object
from pytest_llmperf.servers.clients.control_client import ControlClient
from pytest_llmperf.servers.clients.server_client import ModelEntry

UNKNOWN = "unknown"
"""The version of a server that does not report it."""

LACKS = (
    "an OpenAI-compatible API reports no server durations: queue time and server TTFT are not known, and neither is "
    "decode throughput, unless the server adds timings of its own (llama-server does)",
    "an OpenAI-compatible API does not accept num_ctx, num_thread and num_gpu; whether the addresses are different "
    "servers, whether the model is on the GPU and who else uses it cannot be determined",
)
"""Notes for every measurement of such a server."""


class OpenAIClient(ControlClient):
    """See ServerClient and ControlClient."""

    KIND, PROBE = "an OpenAI-compatible server", "/v1/models"

    def version(self) -> str:
        """The server's version, or UNKNOWN: vLLM has `/version`, llama-server `/props`, others nothing.

        Raises:
            ServerError: nothing answers there, or it is not an OpenAI-compatible server.
        """
        self.tags()
        for path, member in (("/version", "version"), ("/props", "build_info")):
            response = self.send("GET", path)
            if response.is_success and isinstance(said := _object(response.content).get(member), str):
                return printable(said)
        return UNKNOWN

    def tags(self) -> tuple[ModelEntry, ...]:
        """The models that it names. Raises ServerError."""
        listed = self._json("GET", "/v1/models").get("data")
        if not isinstance(listed, list):
            raise ServerError(
                f"{self._label}: /v1/models lists no models; it is not an OpenAI-compatible server",
                next_step="give the address without /v1, or use --llmperf-backend=attach for an Ollama",
            )
        names = [entry.get("id") for entry in listed if isinstance(entry, dict)]
        return tuple(ModelEntry(name=printable(name)) for name in names if isinstance(name, str) and name)

    def loaded(self, model: str) -> ModelEntry | None:
        """None: the API does not report loaded models."""
        del model
        return None

    def show(self, model: str) -> Mapping[str, Any]:
        """Empty: the API does not describe models."""
        del model
        return {}

    def preload(
        self, model: str, options: Mapping[str, object] | None = None, *, keep_alive: float | str | None = None
    ) -> None:
        """Checks that the server lists the model; the first warm-up request loads it.

        Raises:
            ModelMissingError: the server does not list it.
        """
        del options, keep_alive
        self.find(model)

    def unload(self, model: str) -> None:
        """Does nothing: the API cannot unload models."""
        del model


def _object(text: bytes) -> dict[str, Any]:
    try:
        return parsed_object(text)
    except ValueError:
        return {}
