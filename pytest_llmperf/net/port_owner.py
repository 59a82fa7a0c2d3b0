"""Finds the process that listens on a port of this machine: an answer alone does not prove which process gave it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
ANY_ADDRESS = ("0.0.0.0", "::")
"""A listener on one of these takes connections to every address of the machine."""

_LISTEN = "0A"
_LOOKS = 3  # before a socket is called a stranger's: a process may just be handing it to a child
_PROC = Path("/proc")


class Owner(Enum):
    """The owner of the listening sockets of a port."""

    OURS = "ours"
    STRANGER = "a stranger's"
    NOBODY = "nobody's"
    UNKNOWN = "unknown"


def owner_of(port: int, group: int, *, proc: Path = _PROC) -> Owner:
    """The owner of the sockets that take connections to this port of 127.0.0.1.

    Args:
        port: the port of TCP.
        group: the plugin's process group with all descendants of its members; its number is its leader's pid.
        proc: for tests.

    Returns:
        UNKNOWN if the system does not show the owner.
    """
    owner = Owner.STRANGER
    for _ in range(_LOOKS):
        members = members_of(group, proc=proc)
        if _shows_sockets(proc):
            owner = _by_inodes(listening_inodes(port, proc=proc), members, proc)
        else:
            owner = _by_psutil(port, members)
        if owner is not Owner.STRANGER:
            break
    return owner


def stranger_on(port: int) -> str:
    """The process that listens there, in words, for an error; empty if unknown."""
    import psutil  # noqa: PLC0415 - rarely needed

    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""


def members_of(group: int, *, proc: Path = _PROC) -> set[int]:
    """The living processes of a group and all their descendants, in any group."""
    if not (proc / "self/stat").exists():
        return _members_by_psutil(group)
    stats = {int(entry.name): stat for entry in proc.iterdir() if entry.name.isdigit() and (stat := _stat_of(entry))}
    members = {pid for pid, (_, pgrp) in stats.items() if group in (pgrp, pid)}
    while more := {pid for pid, (parent, _) in stats.items() if parent in members} - members:
        members |= more
    return members


def told_ports(group: int) -> set[int]:
    """The ports in the command lines of a process group (`--port N`), which Ollama passes to its runners."""
    ports = set()
    for pid in members_of(group):
        with suppress(OSError):
            words = (_PROC / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            values = [after for word, after in pairwise(words) if word == "--port"]
            ports |= {int(value) for value in values if value.isdecimal() and 0 < int(value) < 65536}
    return ports


def listening_inodes(port: int, *, proc: Path = _PROC) -> set[int]:
    """Sockets that take connections to this port of 127.0.0.1: those bound to just that address, or to all."""
    exact, wide = set(), set()
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "self/net" / name).read_text("ascii", "replace").splitlines()[1:]:
                address, state, inode = _row(line)
                host, _, told_port = address.rpartition(":")
                if state == _LISTEN and int(told_port, 16) == port:
                    if host in _EXACT:
                        exact.add(inode)
                    elif not host.strip("0"):
                        wide.add(inode)
    return exact or wide


def _shows_sockets(proc: Path) -> bool:
    """Whether there is a table of sockets that may be read; some containers keep it from their processes."""
    try:
        return bool((proc / "self/net/tcp").read_bytes())
    except OSError:
        return False


def _row(line: str) -> tuple[str, str, int]:
    """Local address, state and inode of a line of the table."""
    fields = line.split()
    return fields[1], fields[3], int(fields[9])


def _hex_of(address: bytes) -> str:
    """An address as the kernel prints it: in words of its own byte order."""
    words = [address[at : at + 4] for at in range(0, len(address), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


_EXACT = (_hex_of(bytes((127, 0, 0, 1))), _hex_of(bytes(10) + b"\xff\xff" + bytes((127, 0, 0, 1))))


def _by_inodes(inodes: set[int], members: Iterable[int], proc: Path) -> Owner:
    if not inodes:
        return Owner.NOBODY
    hidden = False
    held: set[int] = set()
    for pid in members:
        try:
            held |= _sockets_of(proc / str(pid) / "fd")
        except PermissionError:
            hidden = True
        except OSError:
            continue  # it has ended meanwhile
    if inodes <= held:
        return Owner.OURS
    return Owner.UNKNOWN if hidden else Owner.STRANGER


def _sockets_of(folder: Path) -> set[int]:
    """Inodes of the sockets that a process holds. Raises OSError."""
    sockets = set()
    for entry in os.scandir(folder):
        with suppress(OSError):
            target = os.readlink(entry.path)  # noqa: PTH115 - quicker, and there may be thousands
            if target.startswith("socket:["):
                sockets.add(int(target[8:-1]))
    return sockets


def _stat_of(entry: Path) -> tuple[int, int] | None:
    """Parent and group of a process that runs."""
    try:
        state, parent, group, *_ = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None  # gone meanwhile
    return None if state in "ZX" else (int(parent), int(group))


def _members_by_psutil(group: int) -> set[int]:
    import psutil  # noqa: PLC0415 - on systems without /proc

    members: set[int] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group:
                members |= {process.pid, *(child.pid for child in process.children(recursive=True))}
    return members


def _by_psutil(port: int, members: set[int]) -> Owner:
    """Without a table of sockets: a user's own processes show their sockets, others only to some users."""
    import psutil  # noqa: PLC0415 - as above

    for pid in members:
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            tell = getattr(process, "net_connections", None) or process.connections
            if any(_takes(connection, port) for connection in tell("tcp")):
                return Owner.OURS
    try:
        others = [connection for connection in psutil.net_connections("tcp") if _takes(connection, port)]
    except (psutil.Error, OSError):
        return Owner.UNKNOWN
    return Owner.STRANGER if others else Owner.NOBODY


def _takes(connection: Any, port: int) -> bool:
    """Whether it takes connections to this port of 127.0.0.1."""
    return (
        connection.status == "LISTEN"
        and connection.laddr.port == port
        and connection.laddr.ip in (LOOPBACK, *ANY_ADDRESS)
    )
