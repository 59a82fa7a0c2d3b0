"""numpy, imported when it is first used: collecting tests, and a run that judges nothing, do without its 0.1 s."""

from __future__ import annotations

from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any

__all__ = ["importing", "np"]

if TYPE_CHECKING:
    import numpy as np
else:

    class _Numpy:
        def __getattr__(self, name: str) -> Any:
            value = getattr(import_module("numpy"), name)
            setattr(self, name, value)  # the next use is an ordinary attribute
            return value

    np = _Numpy()


def importing() -> Thread:
    """Start to import numpy beside what the caller waits for; join the thread before anything is timed."""
    thread = Thread(target=import_module, args=("numpy",), name="llmperf-import")
    thread.start()
    return thread
