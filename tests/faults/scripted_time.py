"""`python -m tests.faults.scripted_time`: two simulated servers on a clock that only moves when they wait for it.

An answer that would take seconds takes none, and reports the seconds. The ports are printed as one JSON line.
"""

import contextlib
import json
import sys
import threading

from pytest_llmperf.model import Script
from pytest_llmperf.servers.emulator.app import create_app
from pytest_llmperf.servers.emulator.scripted_engine import ScriptedEngine
from tests.faults.conftest import serving

SCRIPT = Script(ttft_ms=300, prefill_tok_s=500, decode_tok_s=8, jitter_pct=1)


class ScriptedTime:
    """A clock in nanoseconds, moved by whoever waits."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._lock = threading.Lock()

    def clock(self) -> int:
        """Now."""
        return self._now_ns

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Returns at once; the clock has advanced by `seconds`."""
        with self._lock:
            self._now_ns += round(seconds * 1e9)
        return event.is_set()


def main() -> None:
    """Serves until its standard input ends."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in "ab":
            time = ScriptedTime()
            engine = ScriptedEngine(SCRIPT, clock=time.clock, wait=time.wait)
            app = create_app(engine, keep_alive_s=float("inf"), clock=time.clock)
            ports.append(stack.enter_context(serving(app))[0])
        print(json.dumps(ports), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
