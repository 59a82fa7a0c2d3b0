"""How many instances a topology has, and what each is called and given."""

from __future__ import annotations

import os

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import TopologyKind


def instances_of(kind: TopologyKind, agents: int) -> tuple[int, int]:
    """The number of instances, and of slots of each, in a topology with this number of agents.

    Raises:
        UsageError: no agents, or `dual` with more than two.
    """
    if agents < 1:
        raise UsageError(f"topology {kind} needs at least one agent, got {agents}")
    if kind is TopologyKind.SINGLE:
        return 1, 1
    if kind is TopologyKind.SINGLE_PARALLEL:
        return 1, agents
    if kind is TopologyKind.DUAL:
        if agents > 2:
            raise UsageError(
                f"topology dual has two instances, the scenario has {agents} agents",
                next_step="use ollama_fleet: an instance for each agent",
            )
        return 2, 1
    return agents, 1


def instance_name(index: int) -> str:
    """`a`, `b`, ... `z`, `a1`, ..."""
    letter = chr(ord("a") + index % 26)
    return letter if index < 26 else f"{letter}{index // 26}"


def threads_each(wanted: int, instances: int) -> int:
    """CPU threads for each instance: the setting, else an equal share of the cores that the process may use."""
    if wanted:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // instances)


def port_of(ports: tuple[int, ...], index: int, count: int) -> int:
    """The port that is set for an instance; 0 if none is set.

    Raises:
        UsageError: ports are set, but too few, or one port twice.
    """
    if not ports:
        return 0
    if len(ports) < count or len(set(ports[:count])) < count:
        raise UsageError(
            f"llmperf_ports has {', '.join(map(str, ports))}; {count} different ports are needed",
            next_step="give one port for each instance, or none",
        )
    return ports[index]
