"""Where instances come from: `choose` picks a backend, the backend opens topologies.

`auto` tries, in this order: running servers (`attach`), starting Ollama (`ollama`), and the emulator with a real engine
(`embedded`). It never chooses the simulated server, which must be requested.
"""

from pytest_llmperf.servers.backends.backend import Backend
from pytest_llmperf.servers.backends.backend_factory import choose
from pytest_llmperf.servers.backends.opened_topology import OpenedTopology
from pytest_llmperf.servers.backends.unused_options import unused

__all__ = ["Backend", "OpenedTopology", "choose", "unused"]
