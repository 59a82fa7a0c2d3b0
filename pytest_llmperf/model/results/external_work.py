"""What is known of the program of an external agent besides its requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """An agent's whole work, between the marks that it sent to the tap when it began and ended.

    Attributes:
        before_ns: time from its mark `begin` to the arrival of its first request at the tap.
        after_ns: time from the end of its last answer to its mark `end`.
        total_ns: time from `begin` to `end`, without the wait at the barrier.
    """

    before_ns: int
    after_ns: int
    total_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUse:
    """What the program of a command used in one run, with all processes that it started.

    Attributes:
        start_up_ns: from the start of its process to the agent's first bytes at the tap, of a request or a mark.
        cpu_ns: CPU time; None if the system does not tell (only Linux does).
        peak_rss_bytes: the highest sum of the peak resident memory (`VmHWM`) of its processes that lived at one time;
            None if the system does not tell (only Linux does).
        agents: the names of all agents that ran in it.
    """

    start_up_ns: int
    cpu_ns: int | None
    peak_rss_bytes: int | None
    agents: tuple[str, ...]
