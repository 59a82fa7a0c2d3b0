"""The command `pytest-llmperf`: measures without a test, records agents, sets up a project, and maintains baselines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from pytest_llmperf.cli.arguments import function_of, parsed
from pytest_llmperf.errors import LlmperfError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: the command line without the program's name; None: `sys.argv[1:]`.

    Returns:
        The exit code: 0 = success; 1 = a regression or a fault was found; 2 = the command could not run.
    """
    with ExitStack() as stack:
        for stream in (sys.stdout, sys.stderr):
            stack.enter_context(_escaping(stream))
        return _run(arguments)


@contextmanager
def _escaping(stream: Any) -> Iterator[None]:
    """Inside, characters that the stream's encoding lacks are written as escapes instead of raising."""
    before = getattr(stream, "errors", None)
    if before is None or not hasattr(stream, "reconfigure"):
        yield
        return
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with suppress(ValueError, OSError):  # the stream was closed, or its reader is gone
            stream.reconfigure(errors=before)


def _run(arguments: Sequence[str] | None) -> int:
    given = parsed(sys.argv[1:] if arguments is None else arguments)
    try:
        code: int = function_of(given.run)(given)
        sys.stdout.flush()
    except LlmperfError as error:
        print(f"pytest-llmperf {given.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"pytest-llmperf {given.command}: interrupted", file=sys.stderr)
        return 2
    except BrokenPipeError:  # from `| head`: the rest has no reader, also when Python exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    return code
