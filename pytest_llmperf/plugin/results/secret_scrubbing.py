"""Masks secrets in pytest's reports: in tracebacks with local variables, captured output and logs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_llmperf.masking import without_pieces

_DEEPEST = 40


def scrub(report: pytest.TestReport, secrets: Sequence[str]) -> None:
    """Mask the secrets in all texts of a report.

    Args:
        report: changed.
        secrets: longest first.
    """
    report.longrepr = _scrubbed(report.longrepr, secrets, _DEEPEST)
    report.sections = _scrubbed(report.sections, secrets, _DEEPEST)
    report.user_properties = _scrubbed(report.user_properties, secrets, _DEEPEST)
    if hasattr(report, "wasxfail"):
        report.wasxfail = _scrubbed(report.wasxfail, secrets, _DEEPEST)


def scrub_warning(warning: warnings.WarningMessage, secrets: Sequence[str]) -> None:
    """Mask the secrets in a warning, which pytest shows in its summary; its category is unchanged.

    Args:
        warning: changed.
        secrets: longest first.
    """
    text = str(warning.message)
    if (masked := without_pieces(text, secrets)) != text:
        warning.message = UserWarning(masked)


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
