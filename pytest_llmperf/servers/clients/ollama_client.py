"""A client of an Ollama server, or of the emulator, for requests that are not timed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pytest_llmperf.errors import ServerError, UnreachableError, printable
from pytest_llmperf.model.model_names import same_model
from pytest_llmperf.servers.clients.control_client import ControlClient
from pytest_llmperf.servers.clients.server_client import ModelEntry

_POLL_S = 0.01


class OllamaClient(ControlClient):
    """See ServerClient and ControlClient."""

    KIND, PROBE, GET_MODEL = "an Ollama server", "/api/version", "ollama pull {model}, or "

    def version(self) -> str:
        """What `/api/version` says.

        Raises:
            ServerError: nothing answers there, or it is no Ollama.
        """
        version = self._json("GET", "/api/version").get("version")
        if not isinstance(version, str):
            raise ServerError(f"{self._label}: /api/version names no version; it is not an Ollama server")
        return printable(version)

    def answers(self) -> bool:
        """Whether an Ollama answers there now."""
        try:
            self.version()
        except ServerError:
            return False
        return True

    def tags(self) -> tuple[ModelEntry, ...]:
        """The models that the server has. Raises ServerError."""
        return _entries(self._json("GET", "/api/tags"))

    def ps(self) -> tuple[ModelEntry, ...]:
        """The models that the server has loaded; empty if the server is too old to report them. Raises ServerError."""
        return _entries(self._json("GET", "/api/ps", absent={}))

    def show(self, model: str) -> Mapping[str, Any]:
        """What `/api/show` says of a model.

        Raises:
            ModelMissingError: it does not have it.
            ServerError: otherwise.
        """
        return self._json("POST", "/api/show", {"model": model}, model=model)

    def loaded(self, model: str) -> ModelEntry | None:
        """The model's entry among `ps`; None when it is not loaded now. Raises ServerError."""
        return next((entry for entry in self.ps() if same_model(entry.name, model)), None)

    def is_loaded(self, model: str) -> bool:
        """Whether the model is loaded now. Raises ServerError."""
        return self.loaded(model) is not None

    def preload(
        self, model: str, options: Mapping[str, object] | None = None, *, keep_alive: float | str | None = None
    ) -> None:
        """Loads the model with these options, and waits until it is loaded.

        Raises:
            ModelMissingError: it does not have it.
            ServerError: otherwise.
        """
        body: dict[str, object] = {"model": model, "prompt": "", "stream": False}
        if options:
            body["options"] = dict(options)
        if keep_alive is not None:
            body["keep_alive"] = keep_alive
        self._json("POST", "/api/generate", body, model=model, within_s=self._timeout_s)

    def load_as_before(self, entry: ModelEntry, *, keep_alive: float | None) -> None:
        """Loads a model again with the context that it had; also a model that only makes embeddings.

        Raises:
            ServerError: the server refuses it.
        """
        options = {"num_ctx": entry.context_length} if entry.context_length else {}
        try:
            self.preload(entry.name, options, keep_alive=keep_alive)
        except UnreachableError:
            raise
        except ServerError:  # a model that only makes embeddings refuses to generate
            body: dict[str, object] = {"model": entry.name, "input": [], "options": options}
            if keep_alive is not None:
                body["keep_alive"] = keep_alive
            if self.send("POST", "/api/embed", json=body).is_error:
                raise

    def unload(self, model: str, *, timeout_s: float = 30.0) -> None:
        """Asks for the model to be unloaded and waits until it is gone.

        Raises:
            ModelMissingError: it does not have it.
            ServerError: it is still loaded after `timeout_s` seconds.
        """
        self._json("POST", "/api/generate", {"model": model, "keep_alive": 0, "stream": False}, model=model)
        deadline_s = min(time.monotonic() + timeout_s, self._until_s)
        while self.is_loaded(model):
            if time.monotonic() > deadline_s:
                raise ServerError(
                    f"{self._label}: model {model!r} is still loaded {timeout_s:g} s after the request to unload it",
                    next_step="somebody else may be using it; see /api/ps",
                )
            self._sleep(_POLL_S)


def _entries(body: Mapping[str, Any]) -> tuple[ModelEntry, ...]:
    """The models of a list; what is not of Ollama's types is as if it were not said. Texts are for a terminal."""
    models = body.get("models")
    entries = []
    for item in models if isinstance(models, list) else ():
        if not isinstance(item, dict):
            continue
        details = item.get("details")
        details = details if isinstance(details, dict) else {}
        entries.append(
            ModelEntry(
                name=_text(item, "name") or _text(item, "model"),
                digest=_text(item, "digest"),
                size_bytes=_number(item, "size") or 0,
                size_vram_bytes=_number(item, "size_vram"),
                family=_text(details, "family"),
                parameter_size=_text(details, "parameter_size"),
                quantization=_text(details, "quantization_level"),
                context_length=_number(item, "context_length") or 0,
                expires_at=_text(item, "expires_at"),
            )
        )
    return tuple(entries)


def _text(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    return printable(value) if isinstance(value, str) else ""


def _number(item: Mapping[str, Any], key: str) -> int | None:
    """A whole number, also where the server writes it as a float."""
    value = item.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None
