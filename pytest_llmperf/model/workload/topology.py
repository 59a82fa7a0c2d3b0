"""Topologies: instances, and the placement of agents on them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pytest_llmperf.model.access import DIRECT, Access


class TopologyKind(StrEnum):
    """How many instances, and how many requests each serves at once."""

    SINGLE = "single"  # all agents share one instance with one slot
    SINGLE_PARALLEL = "single_parallel"  # all agents share one instance with a slot each
    DUAL = "dual"  # two agents, an instance each
    FLEET = "fleet"  # an instance an agent, any number

    @property
    def shared(self) -> bool:
        """Whether all agents are sent to one instance."""
        return self in (TopologyKind.SINGLE, TopologyKind.SINGLE_PARALLEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running server.

    Attributes:
        name: a short name that is unique in its topology: `a`, `b`, ...
        url: base address without a trailing slash, e.g. `http://127.0.0.1:11434`.
        version: the version that `/api/version` reports.
        slots: configured number of requests at once; 0 if unknown.
        slots_seen: observed number of requests at once, if each agent should have a slot; 0 if unknown.
        access: how to reach it.
        api: the API that it speaks, `ollama` or `openai`.
        environment: variables that decide where and how a started server computes, as `NAME=value`.
    """

    name: str
    url: str
    version: str = ""
    slots: int = 0
    slots_seen: int = 0
    access: Access = DIRECT
    api: str = "ollama"
    environment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Running instances, the model they serve, and the placement of agents.

    Attributes:
        kind: see TopologyKind.
        instances: the instances in the order of the agents; one instance for the shared kinds.
        model: the model's name on the servers.
        backend: `attach`, `ollama`, `embedded` or `simulated`.
        reason: why this backend was chosen, in words.
    """

    kind: TopologyKind
    instances: tuple[Instance, ...]
    model: str
    backend: str
    reason: str = ""

    @property
    def simulated(self) -> bool:
        """Whether a scripted engine produced the results."""
        return self.backend == "simulated"

    @property
    def private(self) -> bool:
        """Whether only this session knows the addresses, so that no other client uses the servers.

        False for a simulated deployment, which may play other clients, too.
        """
        return self.backend in ("ollama", "embedded")

    def instance_of(self, agent_index: int) -> Instance:
        """The instance that serves the agent with that index (0-based).

        Raises:
            ValueError: the topology has fewer instances than needed.
        """
        if self.kind.shared:
            return self.instances[0]
        if agent_index >= len(self.instances):
            raise ValueError(
                f"topology {self.kind} has {len(self.instances)} instances; agent {agent_index + 1} needs its own"
            )
        return self.instances[agent_index]
