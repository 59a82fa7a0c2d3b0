"""Waiting that a Ctrl-C ends, also in a thread in which an event loop already runs.

There the loop's runner turns a Ctrl-C into a cancellation of its task, which a function that blocks the loop would only
notice when it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

LOOK_S = 0.25
"""How often to check for a Ctrl-C if there is no other reason to wake."""

_T = TypeVar("_T")


def until(
    ended: Callable[[float], object], *, every_s: float = LOOK_S, beat: Callable[[], None] = lambda: None
) -> None:
    """Waits until something has ended.

    Args:
        ended: waits at most the given number of seconds, and returns whether it has ended.
        every_s: the number of seconds to pass.
        beat: called after each wait without success.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        asyncio.CancelledError: Ctrl-C while an event loop runs in this thread, or another cancellation of its task.
    """
    task = _task()
    while not ended(every_s):
        beat()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError


def apart(work: Callable[[], _T], give_up: Callable[[], None]) -> _T:
    """Does blocking work: in this thread, where Ctrl-C ends it, or in another one if an event loop runs in this thread.

    Args:
        work: the work.
        give_up: called when the result is not wanted any more; if it cannot end the work, the work is not waited for.

    Raises:
        KeyboardInterrupt, asyncio.CancelledError: as `until` does; or whatever the work raises.
    """
    if _task() is None:
        return work()
    ended: Future[_T] = Future()

    def target() -> None:
        try:
            ended.set_result(work())
        except BaseException as error:  # handed to the caller's thread
            ended.set_exception(error)

    thread = threading.Thread(target=target, name="llmperf-apart", daemon=True)
    thread.start()
    try:
        until(lambda wait_s: _is_done(ended, wait_s))
    except BaseException:
        give_up()
        thread.join(LOOK_S)
        raise
    return ended.result()


def run_on_loop(main: Callable[[], Coroutine[Any, Any, _T]], factory: Callable[[], asyncio.AbstractEventLoop]) -> _T:
    """Runs a coroutine on an event loop of its own; in another thread if a loop already runs in this one.

    Args:
        main: made and run there.
        factory: makes the loop.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = Future()
    ended: Future[_T] = Future()

    async def announced() -> _T:
        begun.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        return await main()

    def target() -> None:
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                result = runner.run(announced())
            ended.set_result(result)
        except BaseException as error:  # handed to the caller's thread
            ended.set_exception(error)

    thread = threading.Thread(target=target, name="llmperf-loop")
    thread.start()
    try:
        until(lambda wait_s: _is_done(ended, wait_s))
    except BaseException:  # a Ctrl-C: the thread must not outlive it
        loop, task = begun.result()
        if task is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join()
    return ended.result()


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels the tasks that still run, and waits for them; retrieves every exception.

    asyncio logs an exception that nobody has retrieved when the task is deleted, which may be at any moment; inside the
    compiler this breaks what is being compiled.
    """
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _is_done(ended: Future[Any], wait_s: float) -> bool:
    """Whether the future is done, or failed, within `wait_s` seconds."""
    try:
        ended.exception(timeout=wait_s)
    except TimeoutError:
        return False
    return True


def _task() -> asyncio.Task[Any] | None:
    """The task of the event loop that runs in this thread, if one does."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
