"""Whether different addresses lead to different servers, as far as it can be told.

An address says nothing: a port may be forwarded, a name may be an alias or stand for a balancer, and one address may
serve two servers by name. But the moment at which a server will unload a model, if it says it precisely, is that of one
request to one server: two addresses that tell the same moment lead to one server, and one address that tells now this
and now that leads to several. A moment that many servers may say alike, a constant or a whole second, tells nothing.
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
"""How often an address is asked: often enough for two servers behind it to show, and again where they seem to."""

_FRACTION = re.compile(r"\.(?=\d*[1-9])\d+")
"""Of a second, where it is not whole."""

_FINE_DIGITS = 4
"""Of a fraction that two servers do not tell by chance."""

_LOADED = "loaded"  # in place of a moment that tells nothing
_SOON = timedelta(days=2)  # a loaded model leaves by then, give or take a server's wrong clock


def check(
    topology: Topology,
    at_load: Mapping[str, str] | None = None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[str, ...]:
    """What could not be told, in words; the model must be loaded, instance by instance.

    Args:
        topology: whose instances are asked.
        at_load: when the model would leave each instance, as told right after it was loaded there, where known.
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
    """Whether two addresses that both tell this moment must lead to one server.

    Args:
        moment: that both tell, once the model is loaded by both.
        at_load: what each told right after its own load; empty text where that is not known.
        now: the time.

    The first address's moment moves when the model is loaded by the second, if they are one server; a constant does
    not move. Where that is not known, a moment tells if it is soon: constants are long ago, or far away.
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
    """When the model will leave, in the server's words; empty where it does not say. Raises ServerError."""
    with ollama_client_of(instance) as control:  # over a connection of its own, which a balancer may send anywhere
        entry = control.loaded(model)
    return entry.expires_at if entry is not None else ""


def _by_turns(instance: Instance, told: Sequence[str]) -> str:
    """A note where an address may lead to several servers.

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
    """When the model will leave, as told again and again; empty text where it is not told."""
    told = [leaves_at(instance, model) for _ in range(LOOKS)]
    if len(set(told)) > 1:
        told += [leaves_at(instance, model) for _ in range(MORE_LOOKS)]
    return tuple(told)


def returns(told: Sequence[str]) -> bool:
    """Whether something comes again after something else: a server in use moves on, and never back.

    >>> returns("aabb"), returns("abab"), returns("aaaa")
    (False, True, False)
    """
    changes = [now for before, now in zip((None, *told), told, strict=False) if now != before]
    return len(changes) > len(set(changes))
