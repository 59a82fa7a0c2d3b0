"""What the tap noted: plain values, so that they pass a pipe between processes."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise
from typing import NamedTuple

from pytest_llmperf.measure.wire.arrival import Ancillary
from pytest_llmperf.measure.wire.scheduling_lag import Beat, lag_ns

_LOGIN = re.compile(rb"(?im)^((?:(?:proxy-)?authorization|cookie|[\w-]*(?:api-?key|token|secret)):[ \t]*)([^\r\n]+)")


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


def without_logins(flow: Flow) -> Flow:
    """What an agent sent, with as many asterisks in place of the logins in its headers.

    What the tap notes is kept and looked at by the process that runs the tests; the server was sent the bytes as they
    are.
    """
    whole = b"".join(one.data for one in flow.passed)
    hidden = _LOGIN.sub(lambda match: match[1] + b"*" * len(match[2]), whole)
    if hidden == whole:
        return flow
    ends = list(accumulate((len(one.data) for one in flow.passed), initial=0))
    passed = [one._replace(data=hidden[a:b]) for one, (a, b) in zip(flow.passed, pairwise(ends), strict=True)]
    return Flow(tuple(passed), flow.ended_ns)


class Carried(NamedTuple):
    """One connection.

    Attributes:
        up: from the agent to the server.
        down: from the server to the agent.
        connect_ns, connected_ns: the moments when its connection to the server was begun and when it stood; 0 where
            that did not come to pass.
        first_ns: the moment the agent's first bytes came; 0 if none did.
        given_up_ns: the moment the agent closed it before the barrier opened; 0 if it did not. Nothing of such a
            connection reached the server, and its bytes are not kept.
    """

    up: Flow
    down: Flow
    connect_ns: int = 0
    connected_ns: int = 0
    first_ns: int = 0
    given_up_ns: int = 0


class Used(NamedTuple):
    """CPU time that the tap's process had used at a moment of the part, counted from the barrier."""

    at_ns: int
    cpu_ns: int


class Taken(NamedTuple):
    """One part of a round, as the tap saw it.

    Attributes:
        start_ns: the moment the barrier opened; 0 where it did not.
        end_ns: the moment the part was over.
        before_ns, after_ns: `arrival.wall_offset_ns` at its begin and end.
        agents: the connections of each, in the order they were made.
        used: CPU time of the tap's process, at the barrier, with every beat, and at the end.
        beats: of its pulse.
    """

    start_ns: int
    end_ns: int
    before_ns: int
    after_ns: int
    agents: tuple[tuple[Carried, ...], ...]
    used: tuple[Used, ...] = ()
    beats: tuple[Beat, ...] = ()

    def cpu_ns(self, until_ns: int) -> int:
        """CPU time of the tap from the barrier to that moment, interpolated between two beats."""
        for before, after in pairwise(self.used):
            if after.at_ns >= until_ns:
                share = (until_ns - before.at_ns) / max(1, after.at_ns - before.at_ns)
                return before.cpu_ns + round(max(0.0, share) * (after.cpu_ns - before.cpu_ns))
        return self.used[-1].cpu_ns if self.used else 0

    def lag_ns(self, until_ns: int) -> int:
        """How late the tap would have acted (see `pulse`) from the barrier to that moment."""
        return lag_ns(self.beats, until_ns=until_ns)
