"""`python -m pytest_llmperf.measure.runtimes.client_worker DESCRIPTOR`: a client process of the runtime."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from pytest_llmperf.measure.runtimes.process_runtime import serve

if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
