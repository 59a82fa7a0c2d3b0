"""`python -m pytest_llmperf.measure.tap DESCRIPTOR REALTIME`: the tap's process."""

from __future__ import annotations

import gc
import sys
from multiprocessing.connection import Connection

from pytest_llmperf.measure.tap.proxy_process import Forwarder
from pytest_llmperf.measure.tap.scheduling_priority import be_prompt

if __name__ == "__main__":
    gc.disable()  # there are no cycles to collect, and what is kept of a long part would be walked again and again
    be_prompt(realtime=sys.argv[2] == "True")
    Forwarder(Connection(int(sys.argv[1]))).serve()
