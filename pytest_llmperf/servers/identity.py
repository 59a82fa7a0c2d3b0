"""Whether different addresses lead to different servers, told by what no two servers share.

An address says nothing: a port may be forwarded, a name may be an alias or stand for a balancer, and one address may
serve two servers by name. But the moment at which a server will unload a model, to the nanosecond, is that of one
request to one server: two addresses that tell the same moment lead to one server, and one address that tells now this
and now that leads to several.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import Instance, Topology
from pytest_llmperf.servers.control import Control

LOOKS, MORE_LOOKS = 4, 8
"""How often an address is asked: often enough for two servers behind it to show, and again where they seem to."""


def check(topology: Topology) -> tuple[str, ...]:
    """What could not be told, in words; the model must be loaded, instance by instance.

    Raises:
        UsageError: two addresses lead to one server, or one address to several.
        ServerError: an instance does not answer.
    """
    seen = {instance.name: _looks(instance, topology.model) for instance in topology.instances}
    for instance in topology.instances:
        if returns(seen[instance.name]):
            raise UsageError(
                f"the address of instance {instance.name} ({instance.url}) leads to several servers by turns",
                next_step="give the servers' own addresses, not that of the balancer in front of them",
            )
    for one, other in combinations(topology.instances, 2):
        if {when for when in seen[one.name] if when} & set(seen[other.name]):
            raise UsageError(
                f"the addresses of instances {one.name} and {other.name} ({one.url} and {other.url}) lead to one "
                f"server: it unloads the model at the same moment ({max(seen[one.name])}); agents that share a server "
                f"are no {topology.kind} topology",
                next_step="start a second server, or measure this one with --llmperf-topology=single",
            )
    silent = [instance.name for instance in topology.instances if not any(seen[instance.name])]
    if len(topology.instances) > 1 and silent:
        who = ", ".join(silent)
        return (
            f"whether the instances are different servers cannot be told: {who} does not say when its model leaves",
        )
    return ()


def _looks(instance: Instance, model: str) -> tuple[str, ...]:
    """When the model will leave, as told again and again; empty text where it is not told."""
    told = [_when(instance, model) for _ in range(LOOKS)]
    if len(set(told)) > 1:
        told += [_when(instance, model) for _ in range(MORE_LOOKS)]
    return tuple(told)


def _when(instance: Instance, model: str) -> str:
    """Over a connection of its own, which a balancer may send anywhere."""
    with Control.of(instance) as control:
        entry = control.loaded(model)
    return entry.expires_at if entry is not None else ""


def returns(told: Sequence[str]) -> bool:
    """Whether something comes again after something else: a server in use moves on, and never back.

    >>> returns("aabb"), returns("abab"), returns("aaaa")
    (False, True, False)
    """
    changes = [now for before, now in zip((None, *told), told, strict=False) if now != before]
    return len(changes) > len(set(changes))
