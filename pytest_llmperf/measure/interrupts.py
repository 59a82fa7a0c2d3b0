"""A Ctrl-C that Python drops comes again.

Python raises KeyboardInterrupt wherever the main thread happens to be. In a weak reference's callback or in `__del__`
nobody can catch it: Python reports it to `sys.unraisablehook`, and the program goes on. Every thread object that is
deleted runs such a callback, so that a measurement, which starts threads for each round, would miss one Ctrl-C in some
hundreds.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_AGAIN_S = 0.01


@contextmanager
def no_interrupt_lost() -> Iterator[None]:
    """Inside, a KeyboardInterrupt that Python drops is raised again a moment later. Also a decorator."""
    before = sys.unraisablehook

    def hook(unraisable: UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            _thread.start_new_thread(_interrupt_again, ())  # a `Thread` takes locks that this one may hold here
        else:
            before(unraisable)

    if threading.current_thread() is not threading.main_thread():  # the only one in which a Ctrl-C is raised
        yield
        return
    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _interrupt_again() -> None:
    time.sleep(_AGAIN_S)  # the callback has ended by then; if not, this Ctrl-C is dropped, too, and comes again
    os.kill(os.getpid(), signal.SIGINT)
