"""The options for every cell of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.judge.markers import Marker


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """The test of a sweep and what it asks of every cell.

    Attributes:
        test: the name under which cells are recorded.
        specs: gate markers that judge every cell.
        runtime: the runtime of the clients, unless an axis sets it; empty: the runtime of the settings.
    """

    test: str
    specs: Sequence[Marker] = ()
    runtime: str = ""
