"""The plugin's hooks: options, markers, fixtures, and two parts that are registered only if a test uses the plugin.

It imports only the standard library and pytest, so that an installed but unused plugin costs nothing; the other
packages are imported when pytest collects tests that use the plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.judge.gate_kinds import GATE_KINDS
from pytest_llmperf.plugin import fixtures
from pytest_llmperf.plugin.marker_table import marker_lines
from pytest_llmperf.plugin.options import option_table
from pytest_llmperf.plugin.results.session_results import Results

if TYPE_CHECKING:
    from pytest_llmperf.plugin.runner import Runner


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--llmperf-...` and the ini twins."""
    option_table.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the plugin's own hooks."""
    from pytest_llmperf.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Register fixtures and markers, check the given options early, and collect results where reports arrive."""
    config.pluginmanager.register(fixtures, "llmperf-fixtures")
    for line in marker_lines():
        config.addinivalue_line("markers", line)
    if option_table.given(config):
        from pytest_llmperf.plugin.options.resolved_settings import resolve

        resolve(config)
        if option_table.typed(config) and _distributes(config):
            from pytest_llmperf.plugin.activation import check_early

            check_early(config)
    if not hasattr(config, "workerinput"):
        collected = None
        if option_table.names_stored(config):
            from pytest_llmperf.plugin.results.orphaned_entries import Collected

            collected = Collected(config)
            config.pluginmanager.register(collected, "llmperf-collected")
        config.pluginmanager.register(Results(config, collected), "llmperf-results")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Find the tests that use the plugin; validate all their markers before any server starts."""
    ours, gated = fixtures.FIXTURES.keys(), {None: False}
    users = [item for item in items if not ours.isdisjoint(getattr(item, "fixturenames", ())) or _has_gate(item, gated)]
    if users:
        from pytest_llmperf.plugin.activation import prepare

        prepare(config, users)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """The header lines: which backend, where, what model, why, which baseline (of xdist workers: in the summary)."""
    runner: Runner | None = config.pluginmanager.get_plugin("llmperf-runner")
    if runner is None or config.option.collectonly or hasattr(config, "workerinput"):
        return []
    from pytest_llmperf.errors import clean
    from pytest_llmperf.report.terminal.wrapping import encodable, width, wrapped

    stream = config.get_terminal_writer()._file
    return [encodable(clean(wrapped(line, width())), stream) for line in runner.header()]


def _has_gate(node: Any, gated: dict[Any, bool]) -> bool:
    """Whether a test, or a node above it, has a gate marker; the answers for nodes above tests are kept in `gated`."""
    if node.own_markers and any(map(_gates, node.own_markers)):
        return True
    parent = node.parent
    if parent not in gated:
        gated[parent] = _has_gate(parent, gated)
    return gated[parent]


def _gates(mark: pytest.Mark) -> bool:
    """Whether a marker is a gate also on a test without the plugin's fixtures, which fails: it measures nothing."""
    kind = GATE_KINDS.get(mark.name)
    return kind is not None and (not kind.common_word or bool(mark.args or mark.kwargs))


def _distributes(config: pytest.Config) -> bool:
    """Whether this is an xdist controller, whose workers run the tests."""
    option = config.option
    return getattr(option, "dist", "no") != "no" and not option.collectonly and not hasattr(config, "workerinput")
