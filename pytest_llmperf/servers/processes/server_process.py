"""A server as a group of processes that cannot outlive pytest."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from pytest_llmperf.errors import ServerError
from pytest_llmperf.net.port_owner import stranger_on
from pytest_llmperf.secret_values import SEALED, Hidden

GRACE_S = 5.0
"""Seconds between asking a server to end and killing it."""

PORT_TAKEN = "stop the process that listens there, or omit --llmperf-ports to let the system choose a port"

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_TAIL_LINES = 15
_TAIL_BYTES = 64 * 1024


class ServerProcess:
    """A running server, its supervisor and its log.

    Attributes:
        label: for messages, e.g. `instance a (embedded)`.
        pid: the process id of the supervisor, which leads the session and the group.
        log_path: where its output goes; removed by `stop`.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        label: str,
        env: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        grace_s: float = GRACE_S,
        folder: Path | None = None,
    ) -> None:
        """Starts it.

        Args:
            command: what to run.
            label: for messages.
            env: its environment; None = this process's.
            pass_fds: descriptors that it inherits.
            grace_s: seconds between asking it to end and ending it.
            folder: the server's own folder; the supervisor removes it if pytest is killed, else the caller does.

        Raises:
            ServerError: not on this system, or the command cannot be run.
        """
        if os.name != "posix":
            raise ServerError(
                f"{label}: starting servers needs a POSIX system, this is {sys.platform}",
                next_step="start the servers yourself and give --llmperf-urls",
            )
        self.label = label
        self._grace_s = grace_s
        try:
            handle, name = tempfile.mkstemp(prefix="llmperf-", suffix=".log")
        except OSError as error:
            raise no_room(f"{label}: its log", error) from error
        self.log_path = Path(name)
        # -S -E: the supervisor needs only the standard library, and starts faster without site-packages
        supervisor = [sys.executable, "-S", "-E", str(_SUPERVISOR), str(os.getpid())]
        try:
            with SEALED:
                self._supervisor = subprocess.Popen(
                    [*supervisor, str(grace_s), name, str(folder or ""), ",".join(map(str, pass_fds)), *command],
                    stdin=subprocess.PIPE,
                    stdout=handle,
                    stderr=handle,
                    env=Hidden(env) if env is not None else None,
                    pass_fds=pass_fds,
                    start_new_session=True,
                )
        except OSError as error:
            self.log_path.unlink(missing_ok=True)
            raise ServerError(f"{label}: cannot be started: {error}") from error
        finally:
            os.close(handle)
        self.pid = self._supervisor.pid

    @property
    def alive(self) -> bool:
        """Whether the server runs; the supervisor ends as soon as it does not."""
        return self._supervisor.poll() is None

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """The last lines of its output, indented for a message."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return "    (no log)"
        tail = [line for line in text.splitlines() if line.strip()][-lines:]
        return "\n".join(f"    {line}" for line in tail) or "    (the log is empty)"

    def log(self) -> str:
        """Its whole output so far; empty if it cannot be read."""
        try:
            return self.log_path.read_text("utf-8", "replace")
        except OSError:
            return ""

    def died(self, when: str) -> ServerError:
        """The error for a server that has died."""
        return ServerError(
            f"{self.label} died {when}; the end of its log:\n{self.log_tail()}",
            next_step="see the log; if memory ran out, the log has no line about it, but `dmesg` has",
        )

    def ask_to_end(self) -> None:
        """Asks it to end without waiting, so that several servers can end at the same time."""
        if self._supervisor.stdin is not None:
            with contextlib.suppress(OSError):
                self._supervisor.stdin.close()  # the supervisor reads the end of its pipe

    def stop(self) -> None:
        """Ends the whole group and waits until no process of it is left; idempotent.

        Raises:
            ServerError: a process of it cannot be killed.
        """
        self.ask_to_end()
        try:
            self._supervisor.wait(timeout=self._grace_s + 2)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when a Ctrl-C ends the wait: then without any grace
            self._kill_group()
        self.log_path.unlink(missing_ok=True)

    def _kill_group(self) -> None:
        deadline_s = time.monotonic() + 5
        while _group_exists(self.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            for pid in _session(self.pid):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self._supervisor.poll()  # reaps it; a dead child would keep the group in being
            if time.monotonic() > deadline_s:
                raise ServerError(f"{self.label}: processes of group {self.pid} cannot be killed")
            time.sleep(0.005)
        self._supervisor.wait(timeout=5)  # dead by now; this only reaps it


class StrangerError(ServerError):
    """Another process listens on the port of a server that the plugin started."""


def strange(label: str, port: int) -> StrangerError:
    """The error for a port on which another process listens instead of the server that was started."""
    who = stranger_on(port) or "another process"
    return StrangerError(
        f"{label}: {who} listens on port {port}, which is not the server that the plugin started there: its answers "
        "are not measured",
        next_step="stop that process; if a script starts the server in a container or a daemon, start it yourself and "
        "give its address with --llmperf-urls",
    )


def no_room(file: str, error: OSError) -> ServerError:
    """The error for a file that cannot be written into the system's folder for temporary files."""
    return ServerError(
        f"{file} cannot be written in {tempfile.gettempdir()}: {error.strerror or error}",
        next_step="free some space there, or set TMPDIR to another folder",
    )


class OwnServer(ServerProcess):
    """Our own API server as a process; see ServerProcess. `port` waits until it listens.

    Args:
        arguments: the arguments of `pytest_llmperf.servers.emulator.serve`.
        label: for messages.

    Raises:
        ServerError: see ServerProcess.
    """

    def __init__(self, arguments: Sequence[str], *, label: str) -> None:
        read, write = os.pipe()
        self._announcement: IO[bytes] = os.fdopen(read, "rb")
        module = ("-P", "-m", "pytest_llmperf.servers.emulator.serve")
        command = [sys.executable, *module, *arguments, "--announce-fd", str(write)]
        try:
            super().__init__(command, label=label, pass_fds=(write,))
        except BaseException:
            self._announcement.close()
            raise
        finally:
            os.close(write)

    def port(self, timeout_s: float) -> int:
        """Waits until it listens, and returns its port; to be called once.

        Raises:
            ServerError: the port is in use, it died (with the end of its log), or it took longer than that, seconds.
        """
        with self._announcement as pipe:
            if not select.select([pipe], [], [], timeout_s)[0]:
                raise ServerError(
                    f"{self.label} did not start within {timeout_s:g} s; the end of its log:\n{self.log_tail()}",
                    next_step="raise --llmperf-start-timeout",
                )
            if not (line := pipe.readline()):
                raise self.died("while it started")
        said = json.loads(line)
        if "error" in said:
            raise ServerError(
                f"{self.label}: {said['error']}",
                next_step=PORT_TAKEN,
            )
        return int(said["port"])

    def stop(self) -> None:
        """See ServerProcess."""
        self._announcement.close()
        super().stop()


def wait_until(ready: Callable[[], bool], process: ServerProcess, *, timeout_s: float, poll_s: float = 0.02) -> None:
    """Polls until `ready`, watching the process meanwhile.

    Raises:
        ServerError: it died, or it took more than `timeout_s` seconds.
    """
    deadline_s = time.monotonic() + timeout_s
    while not ready():
        if not process.alive:
            raise process.died("while it started")
        if time.monotonic() > deadline_s:
            raise ServerError(
                f"{process.label} did not answer within {timeout_s:g} s; the end of its log:\n{process.log_tail()}",
                next_step="raise --llmperf-start-timeout",
            )
        time.sleep(poll_s)
    if not process.alive:
        raise process.died("while it started")


def free_port() -> int:
    """A loopback port that was free a moment ago, for servers that cannot announce their own choice."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_in_use(port: int) -> bool:
    """Whether something already listens on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _group_exists(group: int) -> bool:
    """Whether a process of the group still runs, or on Linux of its session; zombies do not count."""
    if sys.platform == "linux":
        return bool(_session(group))
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False  # macOS refuses permission for a group of dead processes only; all of it is the plugin's
    return True


def _session(leader: int) -> list[int]:
    """The processes of a session that still run, on Linux; also if they have groups of their own.

    In a container without an init, orphans stay zombies for ever: they are not counted.
    """
    if sys.platform != "linux":
        return []
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _runs_in(leader, entry)]


def _runs_in(leader: int, entry: Path) -> bool:
    try:
        state, _, _, session, *_ = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return False  # gone meanwhile
    return int(session) == leader and state not in "ZX"
