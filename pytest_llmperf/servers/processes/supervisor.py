"""Runs one server and ends it, with all its children, when the parent process ends, even if the parent is killed.

`server_process.py` starts it as a plain script in a session of its own, so that a Ctrl-C in the terminal reaches only
the parent. It has the reading end of a pipe, and the parent has the writing end: when the parent ends for whatever
reason, the system closes the pipe. It imports only the standard library, so that it starts at once.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

_POLL_S = 1.0  # only for a parent whose forked children still hold the pipe
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Arguments: parent's pid, seconds of grace, log file, folder, descriptors (comma separated), the command.

    It removes the log and the folder if the parent can no longer do so; the folder may be empty text. The descriptors
    are passed on to the command.
    """
    parent, grace_s, log, folder, passed, command = int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:6], sys.argv[6:]
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    descriptors = tuple(int(number) for number in passed.split(",") if number)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
        preexec_fn=_die_with_supervisor,  # noqa: PLW1509 - safe: this process has one thread
    )
    for descriptor in descriptors:
        os.close(descriptor)
    abandoned = _parent_let_go(child, parent, wake_read)  # then nobody is left to read or remove the files
    if abandoned:
        with contextlib.suppress(OSError):
            os.unlink(log)  # noqa: PTH108 - pathlib would double the start-up time
    _end_child(child, grace_s)
    if abandoned and folder:
        import shutil  # noqa: PLC0415 - it costs start-up time, and only this rare end needs it

        shutil.rmtree(folder, ignore_errors=True)
    _end_session()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _end_session() -> None:
    """Kills the processes of this session that have groups of their own, on Linux."""
    if sys.platform != "linux":
        return
    own = os.getpid()
    for name in os.listdir("/proc"):  # noqa: PTH208 - as above
        with contextlib.suppress(OSError, ValueError):
            if name.isdigit() and int(name) != own and os.getsid(int(name)) == own:
                os.kill(int(name), signal.SIGKILL)


def _parent_let_go(child: "subprocess.Popen[bytes]", parent: int, wake_read: int) -> bool:
    """Returns True when the parent is gone or closed the pipe, False when the child ended or a signal says stop."""
    while child.poll() is None:
        if os.getppid() != parent:
            return True
        readable, _, _ = select.select([0, wake_read], [], [], _POLL_S)
        if 0 in readable and not os.read(0, 1):
            return True
        if wake_read in readable and set(os.read(wake_read, 256)) - {signal.SIGCHLD}:
            return False
    return False


def _die_with_supervisor() -> None:
    """In the child: restores the usual signals, and on Linux makes it end together with the supervisor."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_child(child: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """Asks the whole group to end, and kills the child after the grace; the rest ends with this process."""
    os.killpg(os.getpgrp(), signal.SIGTERM)  # the supervisor itself only wakes up
    deadline_s = time.monotonic() + grace_s
    while child.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    child.kill()


if __name__ == "__main__":
    main()
