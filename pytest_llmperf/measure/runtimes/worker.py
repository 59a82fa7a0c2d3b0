"""`python -m pytest_llmperf.measure.runtimes.worker DESCRIPTOR`: one client process of the runtime `processes`."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from pytest_llmperf.measure.runtimes.processes import serve

if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
