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
"""How often to look for a Ctrl-C where there is no other reason to wake."""

_T = TypeVar("_T")


def until(
    ended: Callable[[float], object], *, every_s: float = LOOK_S, beat: Callable[[], None] = lambda: None
) -> None:
    """Waits until it is true.

    Args:
        ended: waits at most so many seconds for it, and says whether it has come.
        every_s: how long it is to wait at a time.
        beat: called after each time in vain.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        asyncio.CancelledError: Ctrl-C where an event loop runs in this thread, or another cancellation of its task.
    """
    task = _task()
    while not ended(every_s):
        beat()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError


def apart(work: Callable[[], _T], give_up: Callable[[], None]) -> _T:
    """Does what blocks: here, where a Ctrl-C ends it, or in a thread where an event loop runs in this one.

    Args:
        work: what to do.
        give_up: called when it is not wanted any more; what that cannot end goes on, and nobody waits for it.

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
    """Runs it on an event loop of its own: here, or in a thread where a loop already runs in this one.

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
    """Gives up those that go on, and waits for them; asks every one for its exception.

    One that nobody asks for is logged by asyncio when the task is thrown away, at whatever moment that is: inside the
    compiler it breaks what is being compiled.
    """
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _is_done(ended: Future[Any], wait_s: float) -> bool:
    """Whether it is done, or failed, within so many seconds."""
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
