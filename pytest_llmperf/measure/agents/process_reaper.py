"""Runs one command and ends every process that the command started, even in sessions of their own.

`command.py` starts it as a plain script, one for each command. On Linux it becomes the parent of every orphan below it
(`PR_SET_CHILD_SUBREAPER`), so that no process of the command can leave its tree. Other systems have no such call: there
it finds only processes that are still below the command, or in its process group, when the command ends. It has the
reading end of a pipe, and its parent has the writing end: when the parent ends in any way, the system closes the pipe.
It imports only the standard library, so that it starts at once.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

_LINUX = sys.platform == "linux"
_POLL_S = 0.05 if _LINUX else 1.0  # to look at the memory, and for a parent whose forked children still hold the pipe
_KILL_S = 5.0  # a process that a SIGKILL does not end in this time is in the kernel's hands
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Arguments: parent's pid, seconds of grace, descriptor to report to, the command.

    Reports lines: `begun` with the time of its start and the CPU time, ns, that its process had used before it became
    the command; then `exit` with the exit code (negative: a signal), and, on Linux, the CPU time and the peak memory
    of all its processes, ns and bytes. No `exit` if it was given up; if it could not be started, the reason.
    """
    parent, grace_s, report, words = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        command = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: _begin(report),  # noqa: PLW1509 - safe: this process has one thread
        )
    except OSError as error:
        os.write(report, str(error).encode())
        return
    memory = Memory()
    code = _exit_code(command.pid, parent, wake_read, memory)
    end_below(command.pid, grace_s)
    if code is not None:
        list(_reaped())
        used = b" %d %d" % (_cpu_ns(), memory.peak_bytes()) if _LINUX else b""
        os.write(report, b"exit %d%s\n" % (code, used))


class Memory:
    """The peak memory of the processes below this one: the highest sum of their `VmHWM` at any look.

    A process may grow after the last look and end. What `getrusage` says of those that have ended has no such gap, but
    it counts what they shared with this process before they became the command: it is used if it is above that.

    Args:
        proc: where the system shows its processes.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._highest = 0
        self._own = self._vm_hwm(os.getpid())

    def look(self) -> None:
        """Looks at the processes that live now."""
        family, total = [os.getpid()], 0
        for pid in family:
            with contextlib.suppress(OSError):
                for task in os.listdir(f"{self._proc}/{pid}/task"):  # noqa: PTH208 - as below
                    family += map(int, self._read(f"{pid}/task/{task}/children").split())
            total += self._vm_hwm(pid) if pid != family[0] else 0
        self._highest = max(self._highest, total)

    def peak_bytes(self, ended_bytes: int | None = None) -> int:
        """The peak; 0 if it was never seen.

        Args:
            ended_bytes: the largest resident set of a process that has ended; None: as the system says.
        """
        if ended_bytes is None:
            ended_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        return max(self._highest, ended_bytes if ended_bytes > self._own else 0)

    def _vm_hwm(self, pid: int) -> int:
        with contextlib.suppress(OSError):
            _, _, rest = self._read(f"{pid}/status").partition(b"VmHWM:")
            return int(rest.split()[0]) * 1024 if rest else 0
        return 0

    def _read(self, name: str) -> bytes:
        with open(f"{self._proc}/{name}", "rb") as file:  # noqa: PTH123 - as below
            return file.read()


def _cpu_ns() -> int:
    """CPU time of the processes that have ended below this one, each waited for by its parent."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((used.ru_utime + used.ru_stime) * 1e9)


def _exit_code(command: int, parent: int, wake_read: int, memory: Memory) -> int | None:
    """Waits until the command has ended; None if the parent is gone, closed the pipe or sent a signal before that."""
    while True:
        if _LINUX:
            memory.look()
        for pid, code in _reaped():
            if pid == command:
                return code
        readable, _, _ = select.select([0, wake_read], [], [], _POLL_S)
        told = set(os.read(wake_read, 256)) - {signal.SIGCHLD} if wake_read in readable else set()
        if told or os.getppid() != parent or (0 in readable and not os.read(0, 1)):
            return None


def _reaped() -> Iterator[tuple[int, int]]:
    """Children that have ended, each with its exit code."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended[0], os.waitstatus_to_exitcode(ended[1])


def end_below(group: int, grace_s: float) -> None:
    """Ends every process below this one, and in that process group: SIGTERM first, after the grace SIGKILL."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_S)):
        told: set[int] = set()
        until_s = time.monotonic() + patience_s
        while below := _below(group):
            for pid in below - told:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
            told |= below
            list(_reaped())
            if time.monotonic() > until_s:
                break
            time.sleep(0.005)
        else:
            return


def _below(group: int) -> set[int]:
    """Living processes below this one, or in that process group."""
    table = list(_processes())
    family, grown = {os.getpid()}, True
    while grown:
        below = {pid for pid, parent, its_group, _ in table if parent in family or its_group == group} - family
        family |= below
        grown = bool(below)
    living = {pid for pid, _, _, state in table if not state.startswith("Z")}
    return (family & living) - {os.getpid()}


def _processes() -> Iterator[tuple[int, int, int, str]]:
    """Pid, parent, process group and state of every process."""
    if sys.platform == "linux":
        for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - pathlib would double the start-up time
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                state, parent, group, *_ = file.read().rpartition(b")")[2].split()
                yield int(name), int(parent), int(group), state.decode()
        return
    with subprocess.Popen(["ps", "-axo", "pid=,ppid=,pgid=,stat="], stdout=subprocess.PIPE, text=True) as listing:
        assert listing.stdout is not None
        for line in listing.stdout:
            pid, parent, group, state = line.split()[:4]
            if int(pid) != listing.pid:
                yield int(pid), int(parent), int(group), state


def _begin(report: int) -> None:
    """In the child: back to the usual signals, and on Linux the end of the reaper is its own; reports its begin."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.write(report, b"begun %d %d\n" % (time.monotonic_ns(), time.process_time_ns()))


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
