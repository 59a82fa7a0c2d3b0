"""A part's clients by host: the orders for the actors, and one part from all of their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple

from pytest_llmperf.measure.hosts.clock_offset import ClockLine
from pytest_llmperf.measure.hosts.host_actor import Order
from pytest_llmperf.measure.hosts.part_times import on_our_clock
from pytest_llmperf.measure.hosts.ray_cluster import Host
from pytest_llmperf.measure.runtimes import Clients, Part
from pytest_llmperf.measure.runtimes.turns import awaited
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.measure.wire.prepared_request import Request


class Crew(NamedTuple):
    """An actor with its clients of a part, by their numbers."""

    host: Host
    actor: Any
    numbers: tuple[int, ...]


def near_request(requests: Sequence[Request]) -> Request | None:
    """The first request to an address that means another machine on every host."""
    for request in requests:
        host, _ = request.peer
        try:
            loopback = ip_address(host).is_loopback
        except ValueError:
            loopback = host == "localhost"
        if loopback:
            return request
    return None


def orders_of(part: int, crews: Sequence[Crew], clients: Clients, timeout_s: float) -> list[Order]:
    """The order for each crew."""
    places = awaited(clients)
    orders = []
    for crew in crews:
        listeners = {
            place: [
                waiting.actor
                for waiting in crews
                if waiting is not crew
                and any(place in request.step.waits_for for number in waiting.numbers for request in clients[number])
            ]
            for place in places
            if place[0] in crew.numbers
        }
        orders.append(
            Order(
                part=part,
                clients=[list(clients[number]) for number in crew.numbers],
                numbers=crew.numbers,
                places=places,
                timeout_s=timeout_s,
                listeners=listeners,
            )
        )
    return orders


def merged(crews: Sequence[Crew], parts: Sequence[Part], lines: Mapping[str, ClockLine], start_ns: int) -> Part:
    """Merges the parts of all crews into one, on our clock."""
    if lines:
        parts = [on_our_clock(part, lines[crew.host.node]) for crew, part in zip(crews, parts, strict=True)]
    several = len({crew.host.node for crew in crews}) > 1
    exchanges: dict[int, tuple[Exchange, ...]] = {}
    lag_ns: dict[int, int] = {}
    for crew, part in zip(crews, parts, strict=True):
        exchanges |= zip(crew.numbers, part.exchanges, strict=True)
        lag_ns |= zip(crew.numbers, part.lag_ns, strict=True)
    return Part(
        start_ns=start_ns if several else parts[0].start_ns,
        exchanges=tuple(exchanges[number] for number in sorted(exchanges)),
        cpu_ns=tuple(cpu_ns for part in parts for cpu_ns in part.cpu_ns),
        lag_ns=tuple(lag_ns[number] for number in sorted(lag_ns)),
        clock_bound_ns=max(each.bound_ns for each in lines.values()) if several else None,
    )
