"""A pytest plugin for inner runs in processes of their own: their rounds take scripted time (see `scripted_time`).

A script without pytest calls `take_scripted_time`.
"""

import pytest

from pytest_llmperf.measure import client_pool
from pytest_llmperf.servers.backends import own_servers
from tests.lent import end_all, lent
from tests.scripted_time import ScriptedTime


def take_scripted_time() -> pytest.MonkeyPatch:
    """From now on, in this process; what it shows does not depend on how busy the machine is."""
    patch = pytest.MonkeyPatch()
    patch.setattr(own_servers, "OwnServer", lent)
    patch.setattr(client_pool, "runtime_of", ScriptedTime)
    return patch


def pytest_configure(config: pytest.Config) -> None:
    """For the whole run."""
    config.add_cleanup(take_scripted_time().undo)
    config.add_cleanup(end_all)
