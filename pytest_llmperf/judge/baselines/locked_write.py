"""How a baseline file is changed: under a lock, proven readable, and whole or not at all.

The new text goes to a temporary file beside the old one, is forced to the disk, and takes the old one's place by a
rename (`whole`); then the folder is forced to the disk as well. Whatever happens at any moment (a kill, a full disk, a
power cut), the file is the old one or the new one. The system frees the lock of a process that dies.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pytest_llmperf.errors import BaselineError
from pytest_llmperf.files.atomic_write import advice, leftovers, place_of, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK_TIMEOUT_S = 60.0
"""How long a saver waits for others; one save takes milliseconds."""

_NO_LOCKS = "give a --llmperf-baselines-dir on a file system with locks"


def rewrite(path: Path, change: Callable[[], str]) -> None:
    """Put what `change` returns in a file's place.

    Args:
        path: the path of the file, which need not exist, nor its folder.
        change: reads the file and gives its new text; called while the lock is held.

    Raises:
        BaselineError: another process holds the lock for too long, or the disk is full or may not be written; or
            what `change` raises. The file is then what it was.
    """
    path = place_of(path)  # a link stays a link: the file that it leads to is replaced
    try:
        _make_folder(path.parent)
        with _locked(path):
            _replace(path, change())
    except (OSError, NotImplementedError) as error:  # the latter from a file system that knows no locks
        raise BaselineError(
            f"baseline {path} could not be saved: {error}; what was there before is unchanged",
            next_step=advice(error, "give another --llmperf-baselines-dir")
            if isinstance(error, OSError)
            else _NO_LOCKS,
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The lock of that file is held inside."""
    lock = FileLock(path.parent / f".{path.stem}.lock", timeout=LOCK_TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout as error:
        raise BaselineError(
            f"baseline {path} has been locked by another process for more than {LOCK_TIMEOUT_S:g} s",
            next_step="wait for the other run, then save again",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _replace(path: Path, text: str) -> None:
    """The text in the file's place, whole or not at all; the lock is held: half-written files have no writer."""
    for leftover in leftovers(path):
        with suppress(OSError):
            leftover.unlink()
    write_whole(path, text, durable=True)
    _sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    """The folder and those above it, each made to last."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut, on systems that support it.

    The file is in its place by now: a system that cannot do more (Windows opens no folders, some network file systems
    do not sync them) is no reason to report a save as failed.
    """
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
