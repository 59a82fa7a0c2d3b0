"""Activates the plugin: checks markers and options, then imports and registers the part that measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.plugin import collection
from pytest_llmperf.plugin.stash import PROFILE, RUNTIME, SPECS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.markers import Marker
    from pytest_llmperf.model import Settings


def prepare(config: pytest.Config, users: Sequence[pytest.Item]) -> None:
    """Validate every marker of the tests that use the plugin, and register the part that runs them.

    Raises:
        pytest.UsageError: lists every fault (in an xdist worker, where that would end the run in an internal error,
            each such test fails instead, and the controller ends with the list).
    """
    faults: list[str] = []
    settings = _settings(config, faults)
    others = collection.registered(config)
    for item in users:
        faults += collection.mistyped(item, others)
        item.stash[SPECS] = collection.specs(item, faults)
        item.stash[RUNTIME] = collection.runtime(item, faults)
        item.stash[PROFILE] = collection.profile(item, settings, faults)
    faults = collection.steps_last(faults)
    from pytest_llmperf.errors import LlmperfError
    from pytest_llmperf.plugin.options import output_files
    from pytest_llmperf.plugin.refusal_text import refusal
    from pytest_llmperf.plugin.runner import Runner

    run_gates = _count_gates([item.stash[SPECS] for item in users], settings)
    runner = Runner(config, settings, {item.nodeid: item.stash[SPECS] for item in users}, run_gates=run_gates)
    if not faults and not config.option.collectonly:
        try:
            runner.session.check([runtime for item in users if (runtime := item.stash[RUNTIME])])
            output_files.check(config, settings)
        except LlmperfError as error:
            faults.append(str(error))
    if faults and not hasattr(config, "workerinput"):
        raise pytest.UsageError(refusal(faults))
    runner.refuse(faults)
    config.pluginmanager.register(runner, "llmperf-runner")


def _count_gates(tests: Sequence[Sequence[Marker]], settings: Settings) -> int:
    """Number of gates that the run will judge, at least 1; the same in every xdist worker."""
    from pytest_llmperf.judge.markers import count_gates

    compare, against = bool(settings.compare), bool(settings.against)
    return max(1, sum(count_gates(specs, compare=compare, against=against) for specs in tests))


def check_early(config: pytest.Config) -> None:
    """Check in an xdist controller, which collects no tests, that what options name exists.

    Raises:
        pytest.UsageError: it does not.
    """
    from pytest_llmperf.errors import LlmperfError
    from pytest_llmperf.plugin.options import output_files
    from pytest_llmperf.plugin.options.resolved_settings import resolve
    from pytest_llmperf.plugin.refusal_text import refusal
    from pytest_llmperf.session.session import Session

    try:
        settings = resolve(config)
        Session(settings, root=config.rootpath).check()
        output_files.check(config, settings)
    except LlmperfError as error:
        raise pytest.UsageError(refusal([str(error)])) from error


def _settings(config: pytest.Config, faults: list[str]) -> Settings:
    """The settings; in an xdist worker, wrong ones are faults, and the defaults are used."""
    from pytest_llmperf.plugin.options.resolved_settings import resolve

    try:
        return resolve(config)
    except pytest.UsageError as error:
        if not hasattr(config, "workerinput"):
            raise
        faults.append(str(error))
    from pytest_llmperf.model import Settings

    return Settings()
