"""Which faults of a plan have fired: each instance writes them into its log, which outlives the instance."""

from __future__ import annotations

import logging
import re

from pytest_llmperf.servers.emulator.faults.fault_plan import Fault

_log = logging.getLogger(__name__)

_LINE = re.compile(r"fault plan: .* \(fault (\d+)\)$", re.MULTILINE)


def tell(fault: Fault, when: str) -> None:
    """Writes to the log that a fault fires, and when."""
    _log.warning("fault plan: %s %s (fault %d)", fault.kind, when, fault.number)


def fired_faults(log: str) -> frozenset[int]:
    """The numbers of the faults that have fired according to a log."""
    return frozenset(map(int, _LINE.findall(log)))
