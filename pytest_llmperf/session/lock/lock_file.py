"""The file of the machine's lock: never opened through a link, and lockable by every user."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from pytest_llmperf.errors import ServerError

LOCK_DIR = "LLMPERF_LOCK_DIR"
"""Environment variable: the lock's folder, for tests and for containers that share one."""

_FOLDERS = ("/run/lock", "/var/lock", "/tmp")
_ELSEWHERE = f"give all measurements of this machine another folder that they share: {LOCK_DIR}=DIR"
_EVERYBODY = 0o666
_ATTEMPTS = 50
"""Number of attempts on a file that another process creates or removes at the moment, `_MOMENT_S` apart."""
_MOMENT_S = 0.02


def shared_folder(candidates: tuple[str, ...] = _FOLDERS) -> Path:
    """The folder of the lock: the first that every user may write to and where nobody may remove others' files.

    Whoever asks gets the same answer: it goes by the folders' modes, not by the user or the environment.
    """
    for candidate in candidates:
        with suppress(OSError):
            mode = Path(candidate).stat().st_mode
            everybody = stat.S_ISDIR(mode) and mode & stat.S_ISVTX and mode & stat.S_IWOTH
            if everybody and not os.statvfs(candidate).f_flag & os.ST_RDONLY:
                return Path(candidate)
    with suppress(FileNotFoundError):  # nothing at all can be written here: what takes the lock says so
        return Path(tempfile.gettempdir())
    return Path(candidates[-1])


def locked(path: Path) -> int | None:
    """A descriptor of the file, locked; None if another process holds the lock. Raises ServerError."""
    for _ in range(_ATTEMPTS):
        descriptor = _opened(path)
        try:
            _check_plain(descriptor, path)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
            os.close(descriptor)  # removed between the open and the lock: the lock of a file without a name
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise _refusal(path, f"cannot be locked: {error.strerror or error}") from error
        except ServerError:
            os.close(descriptor)
            raise
    raise _refusal(path, "is removed again and again")


def _opened(path: Path) -> int:
    """Open the lock's file; create it for all users if it is missing. Raises ServerError."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    fault: OSError | None = None
    for _ in range(_ATTEMPTS):
        try:
            return os.open(path, flags)  # without O_CREAT, which sticky folders refuse for other users' files
        except FileNotFoundError:
            pass
        except PermissionError as error:  # its creator may be about to open it to everybody
            fault = error
            time.sleep(_MOMENT_S)
            continue
        except OSError as error:
            words = "is a link" if error.errno == errno.ELOOP else f"cannot be opened: {error.strerror}"
            raise _refusal(path, words) from error
        try:
            return _created(path, flags)
        except FileExistsError:
            continue
        except OSError as error:
            raise ServerError(
                f"the lock of this machine, {path}, cannot be made: {error.strerror or error}",
                next_step=f"make room or check the permissions there, or {_ELSEWHERE}",
            ) from error
    raise _refusal(path, f"cannot be opened: {fault.strerror if fault else 'it comes and goes'}") from fault


def _created(path: Path, flags: int) -> int:
    """Create the file so that every user may open it, whatever this user's umask is. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, _EVERYBODY)
    try:
        os.fchmod(descriptor, _EVERYBODY)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_plain(descriptor: int, path: Path) -> None:
    """Raise ServerError if it is no plain file, or a hard link: what is written there would damage another file."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise _refusal(path, "is no plain file")
    if status.st_nlink > 1:
        raise _refusal(path, "is a hard link to another file")


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether that file still has its name."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    return False


def _refusal(path: Path, words: str) -> ServerError:
    return ServerError(
        f"the lock of this machine, {path}, {words}",
        next_step=f"have its owner remove it (ls -l {path}), or {_ELSEWHERE}",
    )
