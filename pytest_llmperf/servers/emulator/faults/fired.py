"""Which faults of a plan have struck: each instance writes them into its log, which is still there when it has died."""

from __future__ import annotations

import logging
import re

from pytest_llmperf.servers.emulator.faults.fault_plan import Fault

_log = logging.getLogger(__name__)

_LINE = re.compile(r"fault plan: .* \(fault (\d+)\)$", re.MULTILINE)


def tell(fault: Fault, when: str) -> None:
    """Writes that a fault strikes, and when, into the log."""
    _log.warning("fault plan: %s %s (fault %d)", fault.kind, when, fault.number)


def struck(log: str) -> frozenset[int]:
    """The numbers of the faults that a log tells of."""
    return frozenset(map(int, _LINE.findall(log)))
