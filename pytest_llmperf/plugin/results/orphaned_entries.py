"""Finds stored entries of tests that no longer exist."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pytest_llmperf.model import Settings

_UNSEEN = ("ignore", "ignore_glob", "deselect", "lf", "stepwise")
"""Options of pytest that keep tests from being collected; those tests still exist."""


class Collected:
    """Records what pytest collects.

    An entry counts as orphaned only if its test would have been collected: its file is under the requested paths, and
    nothing there failed to be collected, skipped itself or was left out.

    Args:
        config: pytest's.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._items: list[pytest.Item] = []
        self._worker_ids: set[str] = set()
        self._hidden: list[str] = []
        self._failed = False
        option = config.option
        self._unseen = any(getattr(option, name, None) for name in _UNSEEN)
        self._selected = any(getattr(option, name, None) for name in ("keyword", "markexpr"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Record every test, before any is deselected."""
        self._items = list(items)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Record that tests were deselected."""
        self._selected = self._selected or bool(items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record what could not be collected, or skips itself as a whole."""
        self._failed = self._failed or report.failed
        if report.skipped:
            self._hidden.append(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Record what an xdist worker has collected and not deselected."""
        self._worker_ids |= set(ids)
        self._unseen = self._unseen or self._selected

    def stale(self, settings: Settings) -> tuple[str, bool]:
        """Entries of the session's stored baselines whose test no longer exists.

        Args:
            settings: the settings whose `compare`, `save` and `update` name baselines.

        Returns:
            The entries with the commands that correct them, and whether the run was full, so that they fail it.
        """
        from pytest_llmperf.errors import BaselineError
        from pytest_llmperf.judge.baselines.baseline_files import load_named

        names = dict.fromkeys(filter(None, (settings.compare, settings.save, settings.update)))
        if not names or self._unseen or self._failed or self._config.option.collectonly:
            return "", False
        folder, start = self._config.rootpath / settings.baselines_dir, self._config.invocation_params.dir
        shown = folder.relative_to(start) if folder.is_relative_to(start) else folder
        there = self._worker_ids | {item.nodeid for item in self._items}
        lines: list[str] = []
        for name in names:
            try:
                baseline = load_named(name, (folder,))
            except BaselineError:
                continue  # reported by the code that needed it
            stored = dict.fromkeys(entry.test for entry in baseline.stored)
            gone = [test for test in stored if test not in there and self._looked_for(test)]
            lines += _in_words(name, gone, there.difference(stored), str(shown))
        return "\n".join(lines), not self._selected

    def _looked_for(self, test: str) -> bool:
        """Whether the test would have been collected if it were there."""
        from pytest_llmperf.model.node_id import file_of

        file = file_of(test)
        if file == test or any(test.startswith(hidden) for hidden in self._hidden):
            return False  # a script's own name, or of a module that skips itself
        path = self._config.rootpath / file
        return any(path.is_relative_to(folder) for folder in self._asked_for())

    def _asked_for(self) -> Iterable[Path]:
        """The paths that pytest collected as a whole."""
        start = self._config.invocation_params.dir
        return [(start / argument).resolve() for argument in self._config.args if "::" not in argument]


def _in_words(name: str, gone: Sequence[str], fresh: Iterable[str], folder: str) -> list[str]:
    """The orphaned entries of a baseline, and the commands that correct them."""
    from pytest_llmperf.judge.baselines.lookup import nearest

    if not gone:
        return []
    where = "" if folder == "baselines" else f" --dir {shlex.quote(folder)}"
    count = "1 test that no longer exists" if len(gone) == 1 else f"{len(gone)} tests that no longer exist"
    lines = [f"baseline {name} holds {count}:"]
    for test in gone:
        lines.append(f"  {test}")
        old = f"{shlex.quote(name)} {shlex.quote(test)}"
        if new := nearest(test, fresh):
            lines.append(f"    if it was renamed: pytest-llmperf rename {old} {shlex.quote(new)}{where}")
        lines.append(f"    if it is gone: pytest-llmperf remove {old}{where}")
    return lines
