"""A Ctrl-C that comes where Python drops it."""

import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from pytest_llmperf.measure.interrupts import no_interrupt_lost


class Thing:
    """Runs something when it is deleted."""

    def __init__(self, at_end: Callable[[], None]) -> None:
        self._at_end = at_end

    def __del__(self) -> None:
        self._at_end()


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, as it does where pytest runs in a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _ctrl_c(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)
    for _ in range(10):  # Python looks for signals at a backward jump
        pass


def _wait() -> None:
    while True:
        time.sleep(0.01)


def test_in_a_finalizer() -> None:
    """It ends the work all the same."""

    def work() -> None:
        thing = Thing(_ctrl_c)
        del thing
        _wait()

    with pytest.raises(KeyboardInterrupt), no_interrupt_lost():
        work()


def test_in_a_callback() -> None:
    """A weak reference's callback, such as threading registers for every thread object."""

    def work() -> None:
        thread = threading.Thread()
        _reference = weakref.ref(thread, _ctrl_c)
        del thread
        _wait()

    with pytest.raises(KeyboardInterrupt), no_interrupt_lost():
        work()


def test_in_a_function() -> None:
    """As a decorator, too."""

    @no_interrupt_lost()
    def work() -> None:
        thing = Thing(_ctrl_c)
        del thing
        _wait()

    with pytest.raises(KeyboardInterrupt):
        work()


def test_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go where they went before, and everything goes there afterwards."""
    reported = list[BaseException | None]()
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: reported.append(unraisable.exc_value))
    hook = sys.unraisablehook

    def fail() -> None:
        raise ValueError

    with no_interrupt_lost():
        thing = Thing(fail)
        del thing
    assert [type(error) for error in reported] == [ValueError]
    assert sys.unraisablehook is hook


def test_in_another_thread() -> None:
    """No Ctrl-C is raised there: the hook stays as it is."""
    hooks = []

    def work() -> None:
        with no_interrupt_lost():
            hooks.append(sys.unraisablehook)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert hooks == [sys.unraisablehook]
