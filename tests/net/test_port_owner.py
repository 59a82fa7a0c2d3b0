"""Whose a port is: real sockets and processes of this test, and tables as other systems show them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pytest_llmperf.net import port_owner
from pytest_llmperf.net.port_owner import Owner, members_of, owner_of, told_ports

HOLDER = """
import os, socket, sys
kind, fork, own_group = sys.argv[1:4]
family = socket.AF_INET6 if ":" in kind else socket.AF_INET
listener = socket.create_server((kind, 0), family=family, dualstack_ipv6=family == socket.AF_INET6)
port = listener.getsockname()[1]
if fork == "fork":
    if os.fork() == 0:
        os.close(1)
        if own_group == "own":
            os.setsid()
        sys.stdin.read()
        os._exit(0)
    listener.close()
print(port, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder():
    """`holder(host)`: a process in a group of its own that listens on a port of this host: (pid, port)."""
    started = []

    def start(host: str, fork: str = "", own_group: str = "") -> tuple[int, int]:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", HOLDER, host, fork, own_group],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        return process.pid, int(process.stdout.readline())

    yield start
    for process in started:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_socket_of_the_group_is_ours(holder, host):
    """Bound to the loopback address, or to all of them."""
    if host == "::" and not socket.has_dualstack_ipv6():
        pytest.skip("this system has no sockets for both IPv6 and IPv4")
    pid, port = holder(host)
    assert owner_of(port, pid) is Owner.OURS


@pytest.mark.parametrize("own_group", ["", "own"])
def test_a_socket_of_a_child_is_ours(holder, own_group):
    """Though the parent has closed its copy, and though the child may have left the group."""
    pid, port = holder("127.0.0.1", "fork", own_group)
    assert owner_of(port, pid) is Owner.OURS


def test_a_socket_of_another_group_is_a_stranger_s(holder):
    """Whether our group is alive and listens elsewhere, or has ended."""
    ours, _ = holder("127.0.0.1")
    _, port = holder("127.0.0.1")
    assert owner_of(port, ours) is Owner.STRANGER
    os.kill(ours, signal.SIGKILL)
    os.waitid(os.P_PID, ours, os.WEXITED | os.WNOWAIT)
    assert owner_of(port, ours) is Owner.STRANGER
    assert port_owner.stranger_on(port).endswith(f"({psutil.Process().name()})")


def test_nobody_listens(holder):
    """Neither we nor others; a connection that is open is no listener."""
    pid, port = holder("127.0.0.1")
    with socket.create_connection(("127.0.0.1", port)) as client:
        assert owner_of(client.getsockname()[1], pid) is Owner.NOBODY


def test_the_group_s_members():
    """Among them whoever leads it, and this process's own children."""
    assert os.getpid() in members_of(os.getpgrp())
    assert members_of(2**22 + 1) == set()


def test_ports_that_children_were_told():
    """As Ollama tells `llama-server`."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-S",
            "-c",
            "print(flush=True); input()",
            "--port",
            "12345",
            "--port",
            "0",
            "--port",
            "x",
            "--port",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        process.stdout.readline()  # while a program is being started, it has no words yet
        assert told_ports(process.pid) == {12345}
    finally:
        process.kill()
        process.communicate()


HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def table(tmp_path: Path, *rows: tuple[str, int, str, int], held: dict[int, list[int]]) -> Path:
    """A /proc with these sockets (address, port, state, inode), held by processes of group 7."""
    net = tmp_path / "self" / "net"
    net.mkdir(parents=True)
    lines = [
        f"   0: {host}:{port:04X} 00000000:0000 {state} 0:0 0:0 0 0 0 {inode} 1" for host, port, state, inode in rows
    ]
    (net / "tcp").write_text(HEAD + "".join(f"{line}\n" for line in lines))
    (tmp_path / "self" / "stat").write_text("")
    for pid, inodes in held.items():
        folder = tmp_path / str(pid) / "fd"
        folder.mkdir(parents=True)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a b) c) S 1 7 0")
        for number, inode in enumerate(inodes):
            (folder / str(number)).symlink_to(f"socket:[{inode}]")
    return tmp_path


EXACT, ALL = port_owner._EXACT[0], "0" * 8


@pytest.mark.parametrize(
    ("rows", "held", "owner"),
    [
        ([(EXACT, 80, "0A", 5)], {7: [5]}, Owner.OURS),
        ([(EXACT, 80, "0A", 5)], {7: [], 8: [5]}, Owner.OURS),
        ([(EXACT, 80, "0A", 5)], {7: [6]}, Owner.STRANGER),
        ([(EXACT, 80, "0A", 5)], {}, Owner.STRANGER),
        ([(EXACT, 80, "0A", 5), (EXACT, 80, "0A", 6)], {7: [5]}, Owner.STRANGER),  # SO_REUSEPORT: by turns
        ([(EXACT, 80, "0A", 5), (ALL, 80, "0A", 6)], {7: [5]}, Owner.OURS),
        ([(EXACT, 80, "0A", 6), (ALL, 80, "0A", 5)], {7: [5]}, Owner.STRANGER),
        ([("0A00000A", 80, "0A", 6), (ALL, 80, "0A", 5)], {7: [5]}, Owner.OURS),
        ([(EXACT, 80, "01", 5), (EXACT, 81, "0A", 6)], {7: [5]}, Owner.NOBODY),
    ],
)
def test_tables(tmp_path, rows, held, owner):
    """All that takes connections to the port must be ours."""
    assert owner_of(80, 7, proc=table(tmp_path, *rows, held=held)) is owner


def test_descriptors_that_nobody_shows_are_unknown(tmp_path, monkeypatch):
    """A process that the system hides may be the owner; one that has ended is not."""
    proc = table(tmp_path, (EXACT, 80, "0A", 5), held={7: [], 8: []})

    def hidden(folder: Path) -> set[int]:
        raise PermissionError if "8" in folder.parts[-2] else FileNotFoundError

    monkeypatch.setattr(port_owner, "_sockets_of", hidden)
    assert owner_of(80, 7, proc=proc) is Owner.UNKNOWN


def test_a_child_that_begins_while_we_look_is_seen_at_the_next_look(tmp_path, monkeypatch):
    """A process that hands its socket to a child just now is no stranger."""
    proc = table(tmp_path, (EXACT, 80, "0A", 5), held={7: [], 8: [5]})
    looks = iter([{7}])
    monkeypatch.setattr(port_owner, "members_of", lambda *_, **__: next(looks, {7, 8}))
    assert owner_of(80, 7, proc=proc) is Owner.OURS


def test_a_table_that_may_not_be_read_is_no_empty_one(tmp_path, monkeypatch):
    """A server that answers would be taken for one that nobody runs, and never be ready."""
    proc = table(tmp_path, held={7: [5]})
    (proc / "self" / "net" / "tcp").unlink()
    (proc / "self" / "net" / "tcp").mkdir()

    def denied(*_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    monkeypatch.setattr(psutil.Process, "net_connections", denied, raising=False)
    assert owner_of(80, 7, proc=proc) is Owner.UNKNOWN


def connection(port: int, host: str = "127.0.0.1", status: str = "LISTEN") -> SimpleNamespace:
    return SimpleNamespace(status=status, laddr=SimpleNamespace(ip=host, port=port), pid=1)


@pytest.mark.parametrize(
    ("ours", "others", "owner"),
    [
        ([connection(80)], [], Owner.OURS),
        ([connection(80, "0.0.0.0")], [], Owner.OURS),
        ([connection(81)], [connection(80)], Owner.STRANGER),
        ([connection(81)], [connection(80, "10.0.0.1"), connection(80, status="ESTABLISHED")], Owner.NOBODY),
        ([], psutil.AccessDenied(), Owner.UNKNOWN),
    ],
)
def test_systems_without_tables(tmp_path, monkeypatch, ours, others, owner):
    """A user's own processes list their sockets; on some systems only root can list other users' sockets."""

    def all_of(_):
        if isinstance(others, Exception):
            raise others
        return others

    monkeypatch.setattr(port_owner, "_members_by_psutil", lambda _: {os.getpid()})
    monkeypatch.setattr(psutil, "net_connections", all_of)
    monkeypatch.setattr(psutil.Process, "net_connections", lambda *_: ours, raising=False)
    assert owner_of(80, 7, proc=tmp_path) is owner
