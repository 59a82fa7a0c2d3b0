"""Where the clients of the runtime `ray` run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


class OwnCluster(Protocol):
    """A cluster of this machine alone, which ends with it.

    Attributes:
        address: of its head.
        environment: variables that a process needs to connect to it.
    """

    address: str
    environment: Mapping[str, str]

    def stop(self) -> None:
        """Ends it; idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RayPlan:
    """Where the clients run.

    Attributes:
        address: of the cluster: `auto`, or host and port; empty: `start` starts one on this machine.
        labels: of the hosts that agents run on, `KEY=VALUE` by the agent's name; others run on any host.
        start: see address.
    """

    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    start: Callable[[], OwnCluster]
