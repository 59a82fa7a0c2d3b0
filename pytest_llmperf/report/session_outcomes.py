"""The outcomes of a session's tests, including tests that failed before measuring anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """A test's outcome as pytest reports it."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    XFAILED = "xfailed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A test that uses the plugin, with its outcome.

    Attributes:
        test: the test's node id.
        ending: the test's outcome; `xfailed`: it failed as expected.
        text: why it failed or was skipped; empty if it passed or its gates explain it.
        file: the test's file.
        line: the test's first line, from 1.
    """

    test: str
    ending: Ending
    text: str = ""
    file: str = ""
    line: int = 1


def any_failed(tests: Iterable[Tested]) -> bool:
    """Whether any test failed, even without measuring anything."""
    return any(test.ending is Ending.FAILED for test in tests)
