"""Hooks that other plugins and conftest files may implement."""

from __future__ import annotations

import pytest


@pytest.hookspec(firstresult=True)
def pytest_llmperf_score(prompt: str, response: str) -> float | None:
    """Score an answer, for the marker `quality`; the first result that is not None counts, the plugin's own is last.

    Args:
        prompt: what was asked, without the unique prefix.
        response: the whole answer, possibly cut by `num_predict`.

    Returns:
        0 (bad) to 1 (good), or None for no opinion.
    """
