"""A runtime by its name."""

from __future__ import annotations

from pytest_llmperf.errors import MissingExtraError
from pytest_llmperf.measure.runtimes.runtime import Runtime
from pytest_llmperf.model import SERIAL


def runtime_of(name: str) -> Runtime:
    """The runtime of that name, one of `model.RUNTIMES`, or `model.SERIAL`.

    Raises:
        MissingExtraError: `uvloop` is not installed.
    """
    if name == "threads":
        from pytest_llmperf.measure.runtimes.thread_runtime import ThreadsRuntime  # noqa: PLC0415 - only the one in use

        return ThreadsRuntime()
    if name == SERIAL:
        from pytest_llmperf.measure.runtimes.serial_runtime import SerialRuntime  # noqa: PLC0415 - as above

        return SerialRuntime()
    if name == "processes":
        from pytest_llmperf.measure.runtimes.process_runtime import ProcessesRuntime  # noqa: PLC0415 - as above

        return ProcessesRuntime()
    from pytest_llmperf.measure.runtimes.loop_runtime import LoopRuntime  # noqa: PLC0415 - as above

    if name == "asyncio":
        from asyncio import new_event_loop  # noqa: PLC0415 - as above

        return LoopRuntime(name, new_event_loop)
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError(
            "the runtime uvloop needs uvloop, which is not installed", next_step="pip install uvloop"
        ) from error
    return LoopRuntime("uvloop", uvloop.new_event_loop)


def check_installed(name: str) -> None:
    """Raises MissingExtraError if the runtime of that name is not installed; starts nothing."""
    runtime_of(name).close()
