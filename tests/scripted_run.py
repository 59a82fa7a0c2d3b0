"""A pytest plugin for inner runs in processes of their own: their rounds take scripted time (see `scripted_time`)."""

import pytest

from pytest_llmperf.measure import client_pool
from pytest_llmperf.servers.backends import own_servers
from tests.lent import end_all, lent
from tests.scripted_time import ScriptedTime


def pytest_configure(config: pytest.Config) -> None:
    """For the whole run; what it shows does not depend on how busy the machine is."""
    patch = pytest.MonkeyPatch()
    patch.setattr(own_servers, "OwnServer", lent)
    patch.setattr(client_pool, "runtime_of", ScriptedTime)
    config.add_cleanup(patch.undo)
    config.add_cleanup(end_all)
