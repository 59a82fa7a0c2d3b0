"""Where agents run: instances and how agents are placed on them."""

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
        name: `a`, `b`, ...: short, unique in its topology.
        url: base address without a trailing slash, e.g. `http://127.0.0.1:11434`.
        version: what `/api/version` said.
        slots: requests that it was told to serve at once; 0 when unknown.
        slots_seen: requests that it was seen to work on at once, where each agent was to have a slot; 0 when unknown.
        access: how it is reached.
        api: that it speaks, `ollama` or `openai`.
        environment: the variables that decide where and how a server of ours computes, as `NAME=value`.
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
        instances: in the order of the agents; one for the shared kinds.
        model: name as the servers know it.
        backend: `attach`, `ollama`, `embedded` or `simulated`.
        reason: why this backend was taken, in words.
    """

    kind: TopologyKind
    instances: tuple[Instance, ...]
    model: str
    backend: str
    reason: str = ""

    @property
    def simulated(self) -> bool:
        """Whether the results are not of a real engine."""
        return self.backend == "simulated"

    @property
    def private(self) -> bool:
        """Whether only this session knows the addresses: then no other client uses the servers.

        A simulated deployment plays any other one, its other clients included.
        """
        return self.backend in ("ollama", "embedded")

    def instance_of(self, agent_index: int) -> Instance:
        """The instance that serves the agent of that index (0-based).

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
