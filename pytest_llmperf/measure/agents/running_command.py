"""A command as a tree of processes that ends with it; its environment, and the part of its output for errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from pytest_llmperf.masking import masked
from pytest_llmperf.secret_values import SEALED, Hidden

GRACE_S = 2.0
"""Seconds between asking what a command started to end and ending it."""

_REAPER = Path(__file__).with_name("process_reaper.py")
_END_S = GRACE_S + 8.0  # the reaper's own limits, and a busy machine
_POLL_S = 0.02
_LOCAL = ("127.0.0.1", "localhost")
_TAIL_BYTES, _TAIL_LINES, _LINE_CHARACTERS = 64 * 1024, 12, 400
_PANIC = re.compile(r"panicked at|^(panic|fatal error): ")
_ERROR = r"^Exception in thread|^((Uncaught|Unhandled|Caused by:?) )?[\w.]*(Error|Exception)\b"
_TELLING = re.compile(f"{_PANIC.pattern}|{_ERROR}")
_BACKTRACE = re.compile(r"^\s*$|^stack backtrace:|^goroutine |^\s+at ")
_REASON_LINES = 5
_REPORT = re.compile(
    r"(begun (?P<begun>\d+) (?P<before>\d+)\n(exit (?P<code>-?\d+)( (?P<cpu>\d+) (?P<peak>\d+))?\n)?)?"
)
"""The reaper's report; empty if the command could not be started."""


class CommandUse(NamedTuple):
    """The resources used by a command and all processes that it started.

    Attributes:
        begun_ns: when its process became the command, monotonic.
        cpu_ns: CPU time; None if the system does not tell.
        peak_rss_bytes: peak resident memory, see `process_reaper.Memory`; None if the system does not tell.
    """

    begun_ns: int
    cpu_ns: int | None = None
    peak_rss_bytes: int | None = None


class RunningCommand:
    """A command under its reaper.

    Args:
        words: program and arguments.
        env: its environment.
        output: where its output goes.

    Attributes:
        use: what it used; None before `exit_code` has returned, and if its reaper was ended by somebody else.
    """

    def __init__(self, words: Sequence[str], *, env: Mapping[str, str], output: IO[bytes]) -> None:
        self.use: CommandUse | None = None
        self._report, theirs = os.pipe()
        reaper = [sys.executable, "-I", "-S", str(_REAPER), str(os.getpid()), str(GRACE_S), str(theirs)]
        try:
            with SEALED:
                self._process = subprocess.Popen(
                    [*reaper, *words],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=Hidden(env),
                    pass_fds=(theirs,),
                    start_new_session=True,  # only this process handles a Ctrl-C in the terminal
                )
        except BaseException:
            os.close(self._report)
            raise
        finally:
            os.close(theirs)

    async def exit_code(self) -> int:
        """Once nothing of it is left; negative: the signal that ended it.

        Raises:
            OSError: it could not be started.
        """
        while self._process.poll() is None:  # noqa: ASYNC110 - a process has no event that works on every loop
            await asyncio.sleep(_POLL_S)
        said = os.read(self._report, 4096).decode("utf-8", "replace")
        match = _REPORT.fullmatch(said)
        if match is None:
            raise OSError(said.rpartition("\n")[2])
        if match["code"] is None:
            return self._process.returncode  # its reaper was ended by somebody else
        begun_ns, before_ns, code = (int(match[name]) for name in ("begun", "before", "code"))
        self.use = CommandUse(begun_ns)
        if match["cpu"] is not None:
            self.use = CommandUse(begun_ns, max(0, int(match["cpu"]) - before_ns), int(match["peak"]) or None)
        return code

    def ask_to_end(self) -> None:
        """Has everything of it begin to end, without waiting; idempotent."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    async def end(self) -> None:
        """Ends everything of it, while the event loop goes on."""
        self.ask_to_end()
        until_s = time.monotonic() + _END_S
        while self._process.poll() is None and time.monotonic() < until_s:  # noqa: ASYNC110 - as above
            await asyncio.sleep(_POLL_S)
        self.close()

    def close(self) -> None:
        """Ends everything of it, waits for that, and gives the pipes back; idempotent."""
        self.ask_to_end()
        if self._report < 0:
            return
        try:
            self._process.wait(_END_S)
        except BaseException as error:  # a second Ctrl-C, too
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
        finally:
            os.close(self._report)
            self._report = -1


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """`NO_PROXY` and `no_proxy`, so that no client goes through a proxy to reach the tap, which is on this machine."""
    known = [word.strip() for name in ("no_proxy", "NO_PROXY") for word in environment.get(name, "").split(",")]
    hosts = ",".join(dict.fromkeys([*filter(None, known), *_LOCAL]))
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def tail_of(output: IO[bytes], secrets: Iterable[str] | None = None) -> str:
    """The part of a command's output that says why it ended, for a message: the last lines, and the reason before them.

    A panic's reason comes before its backtrace, which may be longer than any tail.

    Args:
        output: the output of the command.
        secrets: see `masked`.
    """
    output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL_BYTES))
    lines = masked(output.read().decode("utf-8", "replace"), secrets).splitlines()
    first = max(0, len(lines) - _TAIL_LINES)
    pattern = _PANIC if any(map(_TELLING.search, lines[first:])) else _TELLING
    told = max((at for at, line in enumerate(lines[:first]) if pattern.search(line)), default=None)
    shown = lines[first:]
    if told is not None:
        reason = _reason(lines, told)
        after = told + len(reason)
        shown = [*reason, *(["..."] if after < first else []), *lines[max(after, first) :]]
    return "".join(f"\n  | {_clipped(line)}" for line in shown) or "\n  (it printed nothing)"


def _reason(lines: Sequence[str], told: int) -> list[str]:
    """The line with the reason, and the lines up to the backtrace, which may have the message."""
    reason = [lines[told]]
    for line in lines[told + 1 : told + _REASON_LINES]:
        if _BACKTRACE.search(line):
            break
        reason.append(line)
    return reason


def _clipped(line: str) -> str:
    return line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]}..."
