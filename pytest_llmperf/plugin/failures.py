"""Errors that a user can cause: shown as text, without a traceback through the plugin's code."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llmperf.report.terminal.progress_line import ProgressLine

_T = TypeVar("_T")

_Interrupted: type[Exception] = type("llmperf", (pytest.exit.Exception,), {"__module__": "builtins"})
"""Raised on Ctrl-C during a measurement; pytest prints it as `llmperf: interrupted ...`, after the class' name."""


def fail_without_traceback(work: Callable[[], _T], live: ProgressLine | None = None, kept: str = "") -> _T:
    """Return what `work` returns; on an error of the plugin's own, fail the test with its text, without a traceback.

    On Ctrl-C, print what was running, as far as the live view knows, and what has been kept.
    """
    from pytest_llmperf.errors import LlmperfError

    end: BaseException
    try:
        return work()
    except LlmperfError as error:
        end = pytest.fail.Exception(f"{type(error).__name__}: {error}", pytrace=False)
    except KeyboardInterrupt as error:
        words = "" if live is None else "; ".join(filter(None, (live.interrupted, kept)))
        end = _Interrupted(words, pytest.ExitCode.INTERRUPTED) if words else error
    raise end  # outside of the handlers, so that pytest shows no chain of exceptions


def without_our_frames(work: Callable[[], _T]) -> _T:
    """Return what `work` returns; the plugin's own errors keep their type and lose the plugin's frames."""
    from pytest_llmperf.errors import LlmperfError
    from pytest_llmperf.secret_values import forget_frames

    try:
        return work()
    except LlmperfError as error:
        forget_frames(error)
        raise
