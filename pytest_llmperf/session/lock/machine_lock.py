"""The machine's lock: at most one measurement at a time, whoever runs it, wherever its temporary files go.

It is an advisory lock (flock) on one file that all users of a machine share. Containers that share the host's network
share a second one, a name in Linux's abstract socket space. The system frees both when their holder dies.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import socket
import stat
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pytest_llmperf.errors import UsageError
from pytest_llmperf.session.lock.lock_file import LOCK_DIR, locked, shared_folder
from pytest_llmperf.session.lock.lock_holder import MOST_BYTES, Holder, read_holder, write_holder

NAME = "pytest-llmperf.lock"
_SOCKET = "\0pytest-llmperf.lock"
_POLL_S = 0.1
_guard = threading.Lock()
_here: dict[tuple[int, Path], weakref.ref[MachineLock]] = {}
"""Locks that this process holds."""


class MachineLock:
    """The lock of this machine. Users of the same object may acquire it several times.

    Args:
        folder: the folder of the lock file; None: `LLMPERF_LOCK_DIR`, else the folder that all users share.
        socket_name: a name in Linux' abstract namespace; None: the default name, unless a folder was chosen; empty: no
            socket.
        clock: monotonic time, seconds.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        socket_name: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        chosen = os.environ.get(LOCK_DIR, "")
        self.path = (folder or (Path(chosen) if chosen else shared_folder())) / NAME
        ours = "" if folder or chosen or sys.platform != "linux" else _SOCKET
        self._socket_name = ours if socket_name is None else socket_name
        self._clock = clock
        self._sleep = sleep
        self._times = 0
        self._owner_pid = 0
        self._descriptor: int | None = None
        self._socket: socket.socket | None = None

    def acquire(self, *, timeout_s: float = math.inf) -> bool:
        """Take the lock; wait while another process holds it.

        Args:
            timeout_s: maximum time to wait; 0: try once.

        Returns:
            Whether it is taken.

        Raises:
            UsageError: another lock object of this process holds it: waiting would last for ever.
            ServerError: the file cannot be used: it is a link, no plain file, may not be opened, or its folder is full.
        """
        if self._times and self._owner_pid == os.getpid():
            self._times += 1
            return True
        deadline = self._clock() + timeout_s
        while not self._try():
            if self._clock() >= deadline:
                return False
            self._sleep(_POLL_S)
        return True

    def release(self) -> None:
        """Release it; it must be released as often as it was taken."""
        self._times = max(self._times - 1, 0)
        if self._times == 0:
            self._close()

    def holder(self) -> Holder | None:
        """Who holds the lock, or held it last; None if that is unknown."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return read_holder(os.read(descriptor, MOST_BYTES) if plain else b"")
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def __del__(self) -> None:
        self._close()

    def _try(self) -> bool:
        """Take it if it is free."""
        with _guard:
            self._refuse_second()
            descriptor = locked(self.path)
            if descriptor is None:
                return False
            taken, abstract = _bound(self._socket_name) if self._socket_name else (True, None)
            if not taken:
                os.close(descriptor)
                return False
            self._descriptor, self._socket = descriptor, abstract
            self._times, self._owner_pid = 1, os.getpid()
            _here[self._owner_pid, self.path] = weakref.ref(self)
        with suppress(OSError):  # a full disk: the lock is held all the same
            write_holder(descriptor)
        return True

    def _refuse_second(self) -> None:
        """Raise UsageError if another lock object of this process holds it."""
        known = _here.get((os.getpid(), self.path))
        if known is not None and known() not in (None, self):
            raise UsageError(
                "another Session of this process holds servers open, and a machine runs one measurement at a time",
                next_step="close the first one before the second opens servers: session.close()",
            )

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        abstract, self._socket = self._socket, None
        if descriptor is None:
            return
        ours = self._owner_pid == os.getpid()  # a fork's copy is closed; what it locks stays the parent's
        if ours:
            _here.pop((self._owner_pid, self.path), None)
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
        if abstract is not None:
            abstract.close()
        with suppress(OSError):
            if ours:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _bound(name: str) -> tuple[bool, socket.socket | None]:
    """Whether this process now has the abstract name (or there are no such names), and its socket."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.bind(name)
    except OSError as error:
        held.close()
        return error.errno != errno.EADDRINUSE, None
    return True, held
