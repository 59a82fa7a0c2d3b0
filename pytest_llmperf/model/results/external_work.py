"""What is known of the program of an external agent besides its requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """An agent's whole work, between the marks that it sent to the tap when it began and ended.

    Attributes:
        before_ns: from its mark `begin` to the arrival of its first request at the tap.
        after_ns: from the end of its last answer to its mark `end`.
        total_ns: from `begin` to `end`, without the wait at the barrier.
    """

    before_ns: int
    after_ns: int
    total_ns: int
