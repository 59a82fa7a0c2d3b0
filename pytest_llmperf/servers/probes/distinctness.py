"""Checks whether different addresses lead to different servers, as far as possible.

An address alone does not show it: a port may be forwarded, a name may be an alias or a load balancer, and one address
may serve two servers by name. But the moment at which a server will unload a model follows from one request to one
server, if it is precise: two addresses that report the same moment lead to one server, and one address that reports
different moments in turn leads to several. A constant or a whole second shows nothing, because many servers may report
it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import Instance, Topology
from pytest_llmperf.servers.clients.client_factory import ollama_client_of

LOOKS, MORE_LOOKS = 4, 8
"""How often to ask an address: often enough to see two servers behind it, and more often if it seems so."""

_FRACTION = re.compile(r"\.(?=\d*[1-9])\d+")
"""The fraction of a second, unless it is zero."""

_FINE_DIGITS = 4
"""Digits of a fraction that two servers do not report by chance."""

_LOADED = "loaded"  # in place of a moment that tells nothing
_SOON = timedelta(days=2)  # a loaded model leaves by then, give or take a server's wrong clock


def check(
    topology: Topology,
    at_load: Mapping[str, str] | None = None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[str, ...]:
    """Notes about what could not be determined; the model must be loaded on each instance.

    Args:
        topology: its instances are asked.
        at_load: by instance, when it would unload the model, as reported right after the load, if known.
        now: for tests.

    Raises:
        UsageError: two addresses lead to one server, or one address to several.
        ServerError: an instance does not answer.
    """
    seen = {instance.name: _looks(instance, topology.model) for instance in topology.instances}
    notes = [note for instance in topology.instances if (note := _by_turns(instance, seen[instance.name]))]
    for first, second in combinations(topology.instances, 2):
        names = f"{first.name} and {second.name}"
        alike = sorted({when for when in seen[first.name] if when} & set(seen[second.name]))
        if not alike:
            continue
        known = [(at_load or {}).get(instance.name, "") for instance in (first, second)]
        telling = [when for when in alike if tells(when, known, now())]
        if telling:
            raise UsageError(
                f"the addresses of instances {names} ({first.url} and {second.url}) lead to one "
                f"server: both report the same moment at which it unloads the model ({telling[-1]}); agents that share "
                f"a server are not a {topology.kind} topology",
                next_step="start a second server, or measure this one with --llmperf-topology=single",
            )
        notes.append(
            f"whether instances {names} are different servers cannot be determined: both report that they unload the "
            f"model at {alike[-1]}, which may be a coincidence"
        )
    silent = [instance.name for instance in topology.instances if not any(seen[instance.name])]
    if len(topology.instances) > 1 and silent:
        who = ", ".join(silent)
        notes.append(
            f"whether the instances are different servers cannot be determined: "
            f"{who} does not report when it unloads the model"
        )
    return tuple(notes)


def tells(moment: str, at_load: Sequence[str], now: datetime) -> bool:
    """Whether two addresses that both report this moment must lead to one server.

    If they are one server, the first address's moment moves when the model is loaded through the second; a constant
    does not move. If that is unknown, the moment counts if it is near: constants are long ago or far away.

    Args:
        moment: reported by both, once both have loaded the model.
        at_load: what each reported right after its own load; empty if unknown.
        now: the time.
    """
    if all(at_load):
        return bool(_FRACTION.search(moment)) and any(before != moment for before in at_load)
    if not _is_fine(moment):
        return False
    try:
        leaves = datetime.fromisoformat(moment)
    except ValueError:
        return False
    return leaves.tzinfo is not None and abs(leaves - now) < _SOON


def _is_fine(moment: str) -> bool:
    fraction = _FRACTION.search(moment)
    return fraction is not None and len(fraction[0]) > _FINE_DIGITS


def leaves_at(instance: Instance, model: str) -> str:
    """When the server will unload the model, in its own words; empty if it does not report it. Raises ServerError."""
    with ollama_client_of(instance) as control:  # a new connection, which a load balancer may send to any server
        entry = control.loaded(model)
    return entry.expires_at if entry is not None else ""


def _by_turns(instance: Instance, told: Sequence[str]) -> str:
    """A note if an address may lead to several servers.

    Raises:
        UsageError: it does.
    """
    if returns([when if not when or _is_fine(when) else _LOADED for when in told]):
        raise UsageError(
            f"the address of instance {instance.name} ({instance.url}) leads to several servers in turn",
            next_step="give the servers' own addresses, not the address of the load balancer in front of them",
        )
    if returns(told):
        return (
            f"whether the address of instance {instance.name} leads to one server cannot be determined: "
            f"it reports in turn that it unloads the model at {' and '.join(sorted(set(told))[:2])}"
        )
    return ""


def _looks(instance: Instance, model: str) -> tuple[str, ...]:
    """When the server will unload the model, asked repeatedly; empty texts if it does not report it."""
    told = [leaves_at(instance, model) for _ in range(LOOKS)]
    if len(set(told)) > 1:
        told += [leaves_at(instance, model) for _ in range(MORE_LOOKS)]
    return tuple(told)


def returns(told: Sequence[str]) -> bool:
    """Whether a value returns after another value: the moment of a server in use only moves forward.

    >>> returns("aabb"), returns("abab"), returns("aaaa")
    (False, True, False)
    """
    changes = [now for before, now in zip((None, *told), told, strict=False) if now != before]
    return len(changes) > len(set(changes))
