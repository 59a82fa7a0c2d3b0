"""Ways to run several clients at once: threads, one event loop, or a process a client. Same requests, same records."""

from pytest_llmperf.measure.runtimes.runtime import Clients, Part, Runtime
from pytest_llmperf.measure.runtimes.runtime_factory import runtime_of

__all__ = ["Clients", "Part", "Runtime", "runtime_of"]
