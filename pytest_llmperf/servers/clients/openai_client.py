"""What can be asked of an OpenAI-compatible server: vLLM, llama-server, LM Studio and their like.

There is little: what models it names, and of some their version. It loads and unloads as it likes, and tells nothing
of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmperf.errors import ServerError, printable
from pytest_llmperf.net.untrusted_json import parsed_object
from pytest_llmperf.servers.clients.ollama_client import Control, ModelEntry

UNKNOWN = "unknown"
"""The version of a server that does not tell it."""

LACKS = (
    "an OpenAI-compatible API gives no durations of the server: queue time and the server's TTFT are not known, nor is "
    "decode throughput where the server adds no timings of its own (llama-server does)",
    "num_ctx, num_thread and num_gpu are the server's own affair there; whether the addresses are different servers, "
    "where the model lies and who else uses it cannot be determined",
)
"""What a reader of such a measurement must know."""


class OpenAIControl(Control):
    """See Control; where the API has no such thing, nothing is done and nothing is known."""

    KIND, PROBE, GET_MODEL = "an OpenAI-compatible server", "/v1/models", ""

    def version(self) -> str:
        """The server's version, or UNKNOWN: vLLM has `/version`, llama-server `/props`, others nothing.

        Raises:
            ServerError: nothing answers there, or it is no OpenAI-compatible server.
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
                f"{self._label}: /v1/models lists no models; it is no OpenAI-compatible server",
                next_step="give the address without /v1, or use --llmperf-backend=attach for an Ollama",
            )
        names = [entry.get("id") for entry in listed if isinstance(entry, dict)]
        return tuple(ModelEntry(name=printable(name)) for name in names if isinstance(name, str) and name)

    def ps(self) -> tuple[ModelEntry, ...]:
        """None: it does not tell what it has loaded."""
        return ()

    def show(self, model: str) -> Mapping[str, Any]:
        """Nothing. Raises ModelMissingError where it does not name the model."""
        self.find(model)
        return {}

    def preload(
        self, model: str, options: Mapping[str, object] | None = None, *, keep_alive: float | str | None = None
    ) -> None:
        """Looks that it names the model; the first warm-up request loads it, where it is not loaded.

        Raises:
            ModelMissingError: it does not.
        """
        del options, keep_alive
        self.find(model)

    def unload(self, model: str, *, timeout_s: float = 30.0) -> None:
        """Nothing."""
        del model, timeout_s


def _object(text: bytes) -> dict[str, Any]:
    try:
        return parsed_object(text)
    except ValueError:
        return {}
