"""How long clients themselves took, and how long their scenario had them wait: for agents, for tools, to think."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.model import Place, Step


class ClientTimes(NamedTuple):
    """The times of one client in one part.

    Attributes:
        client_ns: time in which the next action was the client's, not the server's (accepting or closing a connection).
        paused_ns: time for which its scenario had it wait.
    """

    client_ns: int
    paused_ns: int


def client_times(
    start_ns: int, steps: Sequence[Sequence[Step]], exchanges: Sequence[Sequence[Exchange]]
) -> list[ClientTimes]:
    """The times of each client.

    Args:
        start_ns: when the barrier opened.
        steps: the steps of each client, one for each exchange; for an external agent only for the first exchange.
        exchanges: the exchanges of each client.
    """

    def end_ns(place: Place) -> int:
        client, position = place
        return exchanges[client][position].ended_ns + steps[client][position].tool_ns

    times = []
    for client, own in enumerate(steps):
        client_ns = paused_ns = 0
        free_ns = start_ns
        for position, (step, exchange) in enumerate(zip(own, exchanges[client], strict=False)):
            ends_ns = [end_ns((client, position - 1))] if position else []
            due_ns = max([free_ns, *ends_ns, *map(end_ns, step.waits_for)]) + step.think_ns
            at_barrier = not position and due_ns == start_ns
            acted_ns = (
                exchange.sent_ns - start_ns
                if at_barrier
                else max(0, exchange.connect_ns - due_ns) + max(0, exchange.sent_ns - exchange.connected_ns)
            )
            client_ns += max(0, acted_ns)
            paused_ns += due_ns - free_ns
            free_ns = exchange.ended_ns
        times.append(ClientTimes(client_ns, paused_ns))
    return times
