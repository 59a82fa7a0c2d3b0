"""Where instances come from: `choose` picks a backend, the backend opens topologies.

The order of `auto`: servers that are running (`attach`), an Ollama to start (`ollama`), our own server over a real
engine (`embedded`). The simulated server is never chosen, only asked for.
"""

from pytest_llmperf.servers.backends.backend import Backend
from pytest_llmperf.servers.backends.backend_factory import choose
from pytest_llmperf.servers.backends.opened_topology import OpenedTopology
from pytest_llmperf.servers.backends.unused_options import unused

__all__ = ["Backend", "OpenedTopology", "choose", "unused"]
