"""What the plugin keeps with each test: keys of pytest's stash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.markers import Marker
    from pytest_llmperf.judge.record import Record

SPECS: pytest.StashKey[Sequence[Marker]] = pytest.StashKey()
"""The test's gate markers as values; present for every test that uses the plugin."""

RUNTIME: pytest.StashKey[str] = pytest.StashKey()
"""The runtime that its marker names; empty if it has none."""

PROFILE: pytest.StashKey[str] = pytest.StashKey()
"""The profile that its marker names; empty if it has none."""

RECORDS: pytest.StashKey[list[Record]] = pytest.StashKey()
"""Its measurements and their verdicts."""

LINES: pytest.StashKey[list[str]] = pytest.StashKey()
"""What the summary prints for it, besides its records."""

WARNINGS: pytest.StashKey[list[str]] = pytest.StashKey()
"""Profiles used in a deployment mode that they are not for; issued after the gates, so that none hides a failure."""

EXPLAINED: pytest.StashKey[bool] = pytest.StashKey()
"""Whether the test failed with the text of its gates."""

MATRIX: pytest.StashKey[bool] = pytest.StashKey()
"""Whether the test ran a matrix."""
