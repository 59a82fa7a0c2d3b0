"""A pytest plugin for inner runs in processes of their own: rounds count, however busy the machine is."""

import pytest

from pytest_llmperf.session import capacity_run
from pytest_llmperf.session.measurement import recovery, round_loop, soak_loop


def keep_up(patch: pytest.MonkeyPatch) -> None:
    """No client is late or dear until the patch is undone."""
    for module in (capacity_run, round_loop, recovery, soak_loop):
        patch.setattr(module, "saturated", lambda _: "")
    patch.setattr(round_loop, "client_overhead_problem", lambda _: "")


def pytest_configure(config: pytest.Config) -> None:
    """For the whole run."""
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    keep_up(patch)
