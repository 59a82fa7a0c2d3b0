"""Writes a file completely or not at all; if several processes write it at once, the last text stays.

The text goes to a new file with a random name in the same folder, which then replaces the old file by a rename. A link
stays a link: the file that it leads to is replaced. Something that is not a plain file (`/dev/null`, a terminal, a
FIFO) is written to and stays what it is. (`judge.baselines.locked_write` changes baselines under a lock.)

A file that no other file can replace is overwritten, if it is writable: one that is mounted by itself
(`docker run -v FILE:FILE`), or whose folder takes no new files. A text that must survive a power cut (a baseline) is
never written so: that is an error.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pytest_llmperf.files.special_files import descriptor_of, write_stream

_SUFFIX = ".tmp"
_MOST_BYTES = 200
"""Maximum length of a name that longer names are derived from; usual systems allow 255."""


def write_whole(path: Path, text: str, *, durable: bool = False) -> None:
    """Replaces the file's text, or writes to something that is not a plain file; creates the folder if it is missing.

    Args:
        path: the path of the file; links are followed.
        text: lone surrogates, which UTF-8 does not have, are escaped.
        durable: whether the text must survive a power cut.

    Raises:
        OSError: it cannot be written; the old file is unchanged, unless it had to be overwritten and the disk is full.
    """
    data = text.encode("utf-8", "backslashreplace")
    if is_stream(path):
        write_stream(path, data)
        return
    try:
        with replacement_of(path, durable=durable) as file:
            file.write(data)
    except OSError as error:
        if durable or not _only_in_place(path, error):
            raise
        _overwrite(path, io.BytesIO(data))


@contextmanager
def replacement_of(path: Path, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """A new file that replaces the old one at the end of the block, if the block raises nothing.

    Args:
        path: the path of the file; links are followed, a missing folder is created.
        durable: whether it must survive a power cut.

    Raises:
        OSError: it cannot be written; the old file is unchanged, unless it had to be overwritten and the disk is full.
    """
    place = place_of(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f"{_begin_of(place)}{secrets.token_hex(8)}{_SUFFIX}")
    descriptor = _new(temporary)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        with suppress(OSError):  # there is no old file, or the disk (SMB, FAT) has no modes
            shutil.copymode(place, temporary)
        try:
            temporary.replace(place)
        except OSError as error:
            if durable or not _only_in_place(place, error):
                raise
            with temporary.open("rb") as file:
                _overwrite(place, file)
            temporary.unlink()
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def append(path: Path, text: str) -> None:
    """Adds to a file, or writes to something that is not a plain file; raises OSError."""
    data = text.encode("utf-8", "backslashreplace")
    if is_stream(path):
        write_stream(path, data)
        return
    with path.open("ab") as file:
        file.write(data)


def probe(path: Path, *, durable: bool = False) -> None:
    """Raises OSError if `write_whole` could not write; leaves nothing."""
    if is_stream(path):
        return
    place = place_of(path)
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if durable and str(place) in _mounts():
        raise OSError(errno.EBUSY, "it is mounted by itself, and no other file can replace it")
    folder = next(parent for parent in place.parents if parent.exists())
    temporary = folder / f"{_begin_of(place)}{secrets.token_hex(8)}{_SUFFIX}"
    try:
        os.close(_new(temporary))
    except OSError as error:
        if durable or not _only_in_place(path, error):
            raise
    else:
        temporary.unlink()


def is_stream(path: Path) -> bool:
    """Whether a path names something to write to instead of a file to replace.

    Raises:
        OSError: nothing can be written there: a disk, a socket, a circle of links, a name that is too long.
    """
    if descriptor_of(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise OSError(errno.EINVAL, f"is a {kind_of(mode)}")
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def place_of(path: Path) -> Path:
    """The path of a file with links followed; the file need not exist."""
    return Path(os.path.realpath(path))


def leftovers(path: Path) -> Iterator[Path]:
    """Incomplete files beside a file, from writers that were killed or are still writing."""
    place = place_of(path)
    begin = _begin_of(place)
    with suppress(OSError):
        for name in os.listdir(place.parent):  # noqa: PTH208 - a pattern would need its special characters escaped
            if name.startswith(begin) and name.endswith(_SUFFIX) and "." not in name[len(begin) : -len(_SUFFIX)]:
                yield place.with_name(name)


def read_text(path: Path) -> str:
    """The text of a plain file, in UTF-8 with or without a byte order mark; lines end with a line feed.

    Raises:
        OSError: it is missing, unreadable, or not a plain file (reading one could take forever).
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n")


def read_bytes(path: Path, most: int = -1) -> bytes:
    """The bytes of a plain file, at most `most` of them (-1: all); raises OSError as `read_text` does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except ValueError as error:  # a zero byte in the name
        raise OSError(errno.EINVAL, str(error)) from error
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"it is a {kind_of(mode)}, wanted a plain file")
        return file.read(most)


def conflict_lines(text: str) -> tuple[int, ...]:
    """The numbers of the lines with git's conflict markers; empty unless a marker is complete."""
    marks = {
        number: line[:7]
        for number, line in enumerate(text.splitlines(), 1)
        if re.match(r"(<{7}|\|{7}|>{7})( |$)|={7}$", line)
    }
    return tuple(marks) if "<<<<<<<" in marks.values() or ">>>>>>>" in marks.values() else ()


def is_there(path: Path) -> bool:
    """Whether anything with that name exists; False for an impossible name."""
    return os.path.lexists(path)


def is_file(path: Path) -> bool:
    """Whether a plain file with that name exists, links followed; False for an impossible name."""
    return os.path.isfile(path)  # noqa: PTH113 - Path's raises where a name is too long


def advice(error: OSError, elsewhere: str) -> str:
    """The next step if a file cannot be written.

    Args:
        error: the system's.
        elsewhere: how to give another file, e.g. `give another --llmperf-json`.
    """
    return f"{_ADVICE[error.errno]}, or {elsewhere}" if error.errno in _ADVICE else elsewhere


_NOT_REPLACED = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)

_ADVICE: dict[int | None, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "check the permissions"),
    **dict.fromkeys((errno.EBUSY, errno.EXDEV), "mount the folder instead of the file"),
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ENXIO: "start what reads it first",
}


def kind_of(mode: int) -> str:
    """The kind of a file, in words, by its mode."""
    kinds = {
        stat.S_IFDIR: "folder",
        stat.S_IFIFO: "FIFO",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "disk",
    }
    return kinds.get(stat.S_IFMT(mode), "plain file")


def _begin_of(place: Path) -> str:
    """The prefix of the names of a file's incomplete replacements; no other file has it."""
    name = place.name
    if len(os.fsencode(name)) > _MOST_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}."


def _only_in_place(path: Path, error: OSError) -> bool:
    """Whether an error says that no file can replace this one, or be made beside it, and it can be overwritten."""
    return error.errno in _NOT_REPLACED and is_file(path) and os.access(path, os.W_OK)


def _mounts() -> set[str]:
    """The paths where something is mounted, a single file, too; empty if the system does not list them."""
    with suppress(OSError, IndexError):
        rows = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
        return {re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), row.split(" ")[4]) for row in rows}
    return set()


def _overwrite(path: Path, source: IO[bytes]) -> None:
    """Writes over a file that exists. Raises OSError."""
    with place_of(path).open("r+b") as file:
        shutil.copyfileobj(source, file)
        file.truncate()


def _new(path: Path) -> int:
    """Opens a new file; never an existing one, nor the target of a link. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
