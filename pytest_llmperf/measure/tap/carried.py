"""What the tap noted: plain values, so that they pass a pipe between processes."""

from __future__ import annotations

from typing import NamedTuple

from pytest_llmperf.measure.arrival import Ancillary


class Passed(NamedTuple):
    """Bytes that passed at once, in one direction.

    Attributes:
        read_ns: the moment after they were read.
        ancillary: the kernel's stamp of their arrival, see `arrival`.
        data: the bytes; never empty.
        handed_ns: the moment just before the last of them was handed on; 0 where that did not come to pass.
    """

    read_ns: int
    ancillary: Ancillary
    data: bytes
    handed_ns: int


class Flow(NamedTuple):
    """One direction of a connection.

    Attributes:
        passed: in order.
        ended_ns: when its sender closed or reset it; 0 where it was still open.
    """

    passed: tuple[Passed, ...]
    ended_ns: int


class Carried(NamedTuple):
    """One connection.

    Attributes:
        up: from the agent to the server.
        down: from the server to the agent.
        connect_ns, connected_ns: the moments when its connection to the server was begun and when it stood; 0 where
            that did not come to pass.
    """

    up: Flow
    down: Flow
    connect_ns: int = 0
    connected_ns: int = 0


class Taken(NamedTuple):
    """One part of a round, as the tap saw it.

    Attributes:
        start_ns: the moment the barrier opened; 0 where it did not.
        end_ns: the moment the part was over.
        before_ns, after_ns: `arrival.wall_offset_ns` at its begin and end.
        cpu_ns: CPU time of the tap's process from the barrier on.
        lag_ns: how late the tap would have acted (see `pulse`), from the barrier on.
        agents: the connections of each, in the order they were made.
    """

    start_ns: int
    end_ns: int
    before_ns: int
    after_ns: int
    cpu_ns: int
    lag_ns: int
    agents: tuple[tuple[Carried, ...], ...]
