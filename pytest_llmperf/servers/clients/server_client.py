"""The interface of a server's client, whichever API the server speaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from pytest_llmperf.model.model_names import full_name

_MOST_NAMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model that an instance has, or has loaded.

    Attributes:
        name: the name with its tag.
        digest: the digest as the server reports it.
        size_bytes: the size of the model.
        size_vram_bytes: the size of its part on the GPU; None if the server does not report it (model not loaded).
        family, parameter_size, quantization: the server's `details`; empty if absent.
        context_length: tokens per slot of a loaded model; 0 if absent.
        expires_at: when a loaded model will be unloaded, RFC 3339; empty if absent.
    """

    name: str
    digest: str = ""
    size_bytes: int = 0
    size_vram_bytes: int | None = None
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    context_length: int = 0
    expires_at: str = ""


class ServerClient(Protocol):
    """A client of one instance for requests that are not timed; use it in a `with`. Each method raises ServerError.

    An OpenAI-compatible server does not report what it has loaded, and loads and unloads models by itself: its client
    knows no loaded model, and `unload` does nothing.

    Attributes:
        url: base address.
    """

    url: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def version(self) -> str:
        """The server's version."""
        ...

    def tags(self) -> tuple[ModelEntry, ...]:
        """The models that the server has."""
        ...

    def find(self, model: str) -> ModelEntry:
        """The model's entry among `tags`. Raises ModelMissingError if the server does not have it."""
        ...

    def loaded(self, model: str) -> ModelEntry | None:
        """The model's entry among the loaded models; None if it is not loaded, or if the server does not report it."""
        ...

    def show(self, model: str) -> Mapping[str, Any]:
        """The server's description of a model; empty if the API has none."""
        ...

    def preload(
        self, model: str, options: Mapping[str, object] | None = None, *, keep_alive: float | str | None = None
    ) -> None:
        """Loads the model, if the API can, and waits. Raises ModelMissingError if the server does not have it."""
        ...

    def unload(self, model: str) -> None:
        """Unloads the model, if the API can, and waits."""
        ...


def some_of(names: Iterable[str], most: int = _MOST_NAMES) -> str:
    """Names for a message: the first of them, and how many more there are.

    >>> some_of(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    names = tuple(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def in_common(lists: Sequence[Sequence[str]]) -> list[str]:
    """The models that all lists name, by their names in the first one; there may be very many."""
    first, *others = lists
    known = [set(map(full_name, names)) for names in others]
    return [name for name in first if all(full_name(name) in names for names in known)]
