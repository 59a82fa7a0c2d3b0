"""Processes of this machine: a process with its descendants, and the process that listens on a port."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress

import psutil

from pytest_llmperf.model import Used
from pytest_llmperf.net.port_owner import ANY_ADDRESS


class Tree:
    """A process and its descendants, counted together.

    CPU time counts from when a process was first seen. A process that has ended stays counted in the process that
    waited for it, even if it began and ended between two looks.

    Args:
        root: the root of the tree.
    """

    def __init__(self, root: psutil.Process) -> None:
        self._members: dict[psutil.Process, None] = {}
        self._before_s = 0.0  # what they had taken when they were first seen
        self._cpu_s = 0.0
        self.hold([root])

    def hold(self, members: Iterable[psutil.Process]) -> None:
        """Replaces the processes of the tree; the root is one of them."""
        members = dict.fromkeys(members)
        for process in members.keys() - self._members.keys():
            with suppress(psutil.Error):
                self._before_s += _cpu_s(process)
        self._members = members

    def used(self) -> Used:
        """CPU time and memory of the tree."""
        cpu_s, rss_bytes = 0.0, 0
        for process in self._members:
            with suppress(psutil.Error), process.oneshot():
                cpu_s += _cpu_s(process)
                rss_bytes += process.memory_info().rss
        now_s = cpu_s - self._before_s
        if now_s < self._cpu_s:  # one of them ended, and nobody here has waited for it
            self._before_s -= self._cpu_s - now_s
        self._cpu_s = max(self._cpu_s, now_s)
        return Used(cpu_s=self._cpu_s, rss_mib=rss_bytes / 2**20)


def descendants(root: psutil.Process) -> list[psutil.Process]:
    """The process and its living descendants."""
    with suppress(psutil.Error):
        return [root, *root.children(recursive=True)]
    return []


def within(root: psutil.Process, processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The process and its descendants among these processes, in which parents come before their children."""
    members, pids = [root], {root.pid}
    for process in processes:
        with suppress(psutil.Error):
            if process.ppid() in pids:
                members.append(process)
                pids.add(process.pid)
    return members


def process_of(pid: int) -> psutil.Process | None:
    """The process with that number, if it lives and shows its usage."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        _cpu_s(process)
        process.memory_info()
        return process
    return None


def is_here(host: str) -> bool:
    """Whether an address or a name belongs to this machine."""
    with suppress(OSError, UnicodeError):
        host = socket.gethostbyname(host)
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    return host.startswith("127.") or host in own | {"::1", "localhost"}


def listener_on(host: str, port: int) -> int | None:
    """The process that listens at this address of this machine; None if the system does not show exactly one.

    A port may have listeners on several addresses, and several processes may share a socket: then the process that
    started the others is returned.
    """
    with suppress(OSError, UnicodeError):
        host = socket.gethostbyname(host)
    with suppress(psutil.Error, OSError):
        there = [connection for connection in psutil.net_connections("tcp") if connection.status == psutil.CONN_LISTEN]
        there = [connection for connection in there if connection.laddr.port == port]
        exact = [connection for connection in there if connection.laddr.ip.removeprefix("::ffff:") == host]
        pids = {connection.pid for connection in exact or there if exact or connection.laddr.ip in ANY_ADDRESS}
        if None not in pids:
            return _first_of(pids)
    return None


def _first_of(pids: set[int]) -> int | None:
    """The process from which all others of these descend; None if there is none."""
    for pid in pids:
        if pids <= {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}:
            return pid
    return None


def _cpu_s(process: psutil.Process) -> float:
    """CPU time of a process, and of ended processes that it waited for, s."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
