"""Writes to files that cannot be replaced: descriptors of this process, terminals, FIFOs, `/dev/null`."""

from __future__ import annotations

import errno
import os
import select
import sys
from contextlib import suppress
from pathlib import Path

_MOST_LINKS = 40
_STALLED_MS = 30_000
"""How long a reader may read nothing."""


def descriptor_of(path: Path) -> int | None:
    """The descriptor of this process that a path names (`/dev/stdout`, `/dev/fd/3`, a link to one), if it does."""
    folders = ("/dev/fd", f"/proc/{os.getpid()}/fd")
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if folder in folders and path.name.isdecimal():
            return int(path.name)
        try:
            path = Path(folder) / path.readlink()
        except (OSError, ValueError):
            return None
    return None


def write_stream(path: Path, data: bytes) -> None:
    """Appends bytes to the special file that a path names.

    Raises:
        OSError: it cannot be opened, nothing reads it, or its reader reads nothing for half a minute.
    """
    number = descriptor_of(path)
    if number is not None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # None, closed, or not a file at all
                stream.flush()
        descriptor = os.dup(number)
    else:
        descriptor = _opened(path)
    try:
        while data:
            data = data[_written(descriptor, data) :]
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "nobody reads it") from error
        raise


def _written(descriptor: int, data: bytes) -> int:
    """How many bytes were taken."""
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if not poll.poll(_STALLED_MS):
            raise TimeoutError(errno.ETIMEDOUT, "its reader takes nothing") from None
        return 0
