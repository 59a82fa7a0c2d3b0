"""What happened on the wire for one request."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmperf.measure.wire.arrival import Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What happened on the wire.

    Attributes:
        sent_ns: when the request's last bytes were handed to the system.
        pieces: the answer's bytes as they arrived.
        source: `kernel` or `read`, see `arrival`.
        label: the label of the request.
        connect_ns, connected_ns: the moments before the client began to connect and after it was connected.
        ended_ns: when the end of the answer, or of the connection, was read.
    """

    sent_ns: int
    pieces: tuple[Piece, ...]
    source: str
    label: str
    connect_ns: int = 0
    connected_ns: int = 0
    ended_ns: int = 0
