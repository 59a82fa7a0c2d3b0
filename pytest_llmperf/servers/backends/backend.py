"""The interface of a backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pytest_llmperf.model import TopologyKind
from pytest_llmperf.servers.backends.opened_topology import OpenedTopology

Say = Callable[[str], None]
"""Called with a message before each step that takes time."""


class Backend(Protocol):
    """A source of topologies.

    Attributes:
        kind: `attach`, `ollama`, `embedded` or `simulated`.
        reason: why it was chosen, in words.
        where: where its instances are or will be, in words.
        model: the model that they serve, in words.
        urls: addresses of running servers; empty if the backend starts its own.
        passed_over: running servers that are not measured, in words; else empty.
    """

    kind: str
    reason: str
    where: str
    model: str
    urls: tuple[str, ...]
    passed_over: str

    def check(self) -> None:
        """Checks that everything in the settings exists, without starting or loading anything.

        Raises:
            ServerError: a server does not answer, or a model file is missing or is no model file.
            UsageError: an address is malformed.
        """
        ...

    def open(self, kind: TopologyKind, agents: int) -> OpenedTopology:
        """Provides instances for `agents` agents.

        Raises:
            ServerError: an instance cannot be found, started or loaded.
            UsageError: the topology is impossible with this backend's settings.
        """
        ...
