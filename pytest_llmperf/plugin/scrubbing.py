"""Takes secrets out of pytest's reports: of tracebacks with local variables, captured output and logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_llmperf.masking import without_pieces

_DEEPEST = 40


def scrub(report: pytest.TestReport, secrets: Sequence[str]) -> None:
    """Masks the secrets in all texts that the report shows or hands on.

    Args:
        report: changed.
        secrets: longest first.
    """
    report.longrepr = _scrubbed(report.longrepr, secrets, _DEEPEST)
    report.sections = _scrubbed(report.sections, secrets, _DEEPEST)
    report.user_properties = _scrubbed(report.user_properties, secrets, _DEEPEST)


def _scrubbed(value: Any, secrets: Sequence[str], depth: int) -> Any:
    """The value with its texts masked; pytest's own representations are changed where they are."""
    if isinstance(value, str):
        return without_pieces(value, secrets)
    if not depth or value is None or isinstance(value, int | float | bytes):
        return value
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_scrubbed(item, secrets, depth - 1) for item in value)
    if type(value).__module__.startswith("_pytest."):
        for name, item in vars(value).items():
            object.__setattr__(value, name, _scrubbed(item, secrets, depth - 1))
    return value
