"""Where instances come from: `choose` picks a backend, the backend opens topologies.

The order of `auto`: servers that are running (`attach`), an Ollama to start (`ollama`), our own server over a real
engine (`embedded`). The simulated server is never chosen, only asked for.
"""

from pytest_llmperf.servers.backends.base import Backend, Opened
from pytest_llmperf.servers.backends.choosing import choose
from pytest_llmperf.servers.backends.unused import unused

__all__ = ["Backend", "Opened", "choose", "unused"]
