"""What became of a session's tests: of those that measured something, and of those that did not come so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """As pytest counts it."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    XFAILED = "xfailed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A test of ours, as it ended.

    Attributes:
        test: its node id.
        ending: what became of it; `xfailed`: it failed, as was expected of it.
        text: why it failed or was skipped; empty where it passed, and where its gates say it.
        file: that it stands in.
        line: where it begins there, from 1.
    """

    test: str
    ending: Ending
    text: str = ""
    file: str = ""
    line: int = 1


def any_failed(tests: Iterable[Tested]) -> bool:
    """Whether one of them failed; it may have measured nothing."""
    return any(one.ending is Ending.FAILED for one in tests)
