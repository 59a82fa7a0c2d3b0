"""Moves the times of another host to this host's clock."""

from __future__ import annotations

from dataclasses import replace

from pytest_llmperf.measure.hosts.clock_offset import ClockLine
from pytest_llmperf.measure.runtimes import Part
from pytest_llmperf.measure.wire.exchange import Exchange


def on_our_clock(part: Part, clock: ClockLine) -> Part:
    """A part of a round whose clients ran on another host.

    Each exchange is moved as a whole, by the offset when it was sent: TTFT, ITL and all other times within
    a request remain what that host measured.

    Args:
        part: a part in moments of that host's clock.
        clock: the clock of that host, from estimates before and after the part.
    """
    return replace(
        part,
        start_ns=clock.ours_ns(part.start_ns),
        exchanges=tuple(tuple(_moved(exchange, clock) for exchange in client) for client in part.exchanges),
    )


def _moved(exchange: Exchange, clock: ClockLine) -> Exchange:
    ahead_ns = exchange.sent_ns - clock.ours_ns(exchange.sent_ns)
    return replace(
        exchange,
        sent_ns=exchange.sent_ns - ahead_ns,
        pieces=tuple(
            piece._replace(arrival_ns=piece.arrival_ns - ahead_ns, read_ns=piece.read_ns - ahead_ns)
            for piece in exchange.pieces
        ),
        connect_ns=exchange.connect_ns - ahead_ns,
        connected_ns=exchange.connected_ns - ahead_ns,
        ended_ns=exchange.ended_ns - ahead_ns,
    )
