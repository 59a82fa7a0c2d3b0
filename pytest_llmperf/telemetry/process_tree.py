"""Processes of this machine: a process with all that it started, and who listens on a port."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress

import psutil

from pytest_llmperf.model import Used
from pytest_llmperf.net.port_owner import ANY_ADDRESS


class Tree:
    """A process and those that it started, as one.

    CPU time counts from when a process was first seen here. What has ended stays counted in the process that waited for
    it; what began and ended between two looks is counted there for the first time.

    Args:
        root: of the tree.
    """

    def __init__(self, root: psutil.Process) -> None:
        self._members: dict[psutil.Process, None] = {}
        self._before_s = 0.0  # what they had taken when they were first seen
        self._cpu_s = 0.0
        self.hold([root])

    def hold(self, members: Iterable[psutil.Process]) -> None:
        """From now on these are its processes, the root among them."""
        members = dict.fromkeys(members)
        for process in members.keys() - self._members.keys():
            with suppress(psutil.Error):
                self._before_s += _cpu_s(process)
        self._members = members

    def used(self) -> Used:
        """What it has taken; of processes that have ended, nothing any more."""
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
    """The process and all that it started, as far as they live."""
    with suppress(psutil.Error):
        return [root, *root.children(recursive=True)]
    return []


def within(root: psutil.Process, processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The process and all that it started, out of these, among which parents stand before their children."""
    members, pids = [root], {root.pid}
    for process in processes:
        with suppress(psutil.Error):
            if process.ppid() in pids:
                members.append(process)
                pids.add(process.pid)
    return members


def process_of(pid: int) -> psutil.Process | None:
    """The process of that number, where it lives and tells what it uses."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        _cpu_s(process)
        process.memory_info()
        return process
    return None


def is_here(host: str) -> bool:
    """Whether an address or name is of this machine."""
    with suppress(OSError, UnicodeError):
        host = socket.gethostbyname(host)
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    return host.startswith("127.") or host in own | {"::1", "localhost"}


def listener_on(host: str, port: int) -> int | None:
    """The process that listens at this address of this machine; None where the system does not tell just one.

    A port may have listeners on several addresses, and a socket several processes: then it is the one that started
    the others.
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
    """The process that all others of these descend from; None where there is none."""
    for pid in pids:
        if pids <= {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}:
            return pid
    return None


def _cpu_s(process: psutil.Process) -> float:
    """CPU time of a process and of those that ended and that it waited for, s."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
