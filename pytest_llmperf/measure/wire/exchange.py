"""What happened on the wire for one request."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmperf.measure.wire.arrival import Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What happened on the wire.

    Attributes:
        sent_ns: the moment the request's last bytes were handed to the system.
        pieces: as they arrived.
        source: `kernel` or `read`, see `arrival`.
        label: of the request.
        connect_ns, connected_ns: the moments before its connection was begun and after it stood.
        ended_ns: the moment the end of its answer was read, or that of its connection.
    """

    sent_ns: int
    pieces: tuple[Piece, ...]
    source: str
    label: str
    connect_ns: int = 0
    connected_ns: int = 0
    ended_ns: int = 0
