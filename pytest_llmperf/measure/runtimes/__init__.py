"""Ways to run several clients at once, with the same requests and records: threads, one event loop, processes."""

from pytest_llmperf.measure.runtimes.runtime import Clients, Part, Runtime
from pytest_llmperf.measure.runtimes.runtime_factory import runtime_of

__all__ = ["Clients", "Part", "Runtime", "runtime_of"]
