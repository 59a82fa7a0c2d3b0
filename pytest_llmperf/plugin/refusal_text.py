"""Why no test could run, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def refusal(faults: Iterable[str]) -> str:
    """Why no test could run: every fault once."""
    return "\n  ".join(("pytest-llmperf: usage errors, no server was started:", *faults))


def short_refusal(faults: Iterable[str], test: str) -> str:
    """The same for one of many tests: its own faults, and where to find the others."""
    own = [fault for fault in faults if fault.startswith((f"{test}: ", f"next: {test}: "))]
    return "\n  ".join(("pytest-llmperf: nothing was started: the summary lists all reasons", *own))
