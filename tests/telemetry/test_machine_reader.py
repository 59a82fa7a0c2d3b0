"""This machine, as it is read: who uses it."""

import os
import socket
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import psutil
import pytest

from pytest_llmperf.model import Used
from pytest_llmperf.telemetry import machine_reader as module
from pytest_llmperf.telemetry import process_tree
from pytest_llmperf.telemetry.machine_reader import Machine
from tests.plugin.conftest import until

BUSY = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"


@contextmanager
def child(code: str):
    """A process that says when it is ready, and ends when its input does."""
    ready = f"print(1, flush=True)\n{code}\ninput()"
    command = [sys.executable, "-c", ready]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        try:
            yield psutil.Process(process.pid)
        finally:
            process.stdin.close()
            process.wait()


def spend_s(process: psutil.Process, s: float) -> None:
    """Waits until a process has used almost `s` seconds of CPU time, which is counted in steps of 10 ms."""
    until(lambda: sum(process.cpu_times()[:2]) > s - 0.05, lambda: f"{process.cpu_times()}")


def test_whose_time_it_was() -> None:
    """A server's time is not the client's, nor the other way round; all of it is the machine's."""
    with child(BUSY.format(0.6)) as server, child(BUSY.format(0.1)) as own:
        machine = Machine({"a": server})
        first = machine.sample(0, 0, timed=False)
        ours_s = time.process_time()
        spend_s(server, 0.6)
        spend_s(own, 0.1)
        ours_s = time.process_time() - ours_s + sum(own.cpu_times()[:2])
        last = machine.sample(1, 0, timed=True)
    assert first.servers["a"].cpu_s <= last.servers["a"].cpu_s
    assert 0.2 < last.servers["a"].cpu_s < 0.75
    assert 0 < last.client.cpu_s < ours_s + 0.1
    assert last.busy_s > 0.2
    assert last.servers["a"].rss_mib > 3
    assert last.client.rss_mib > 20
    assert last.memory_used_mib > 10
    assert last.memory_available_mib > 10
    assert last.gpus == ()


def test_a_tree_counts_children_that_have_ended() -> None:
    """Once, whether it saw them live or not; and what it never waited for does not take time back."""
    with child(
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY.format(0.2)!r}])\nprint(2)"
    ) as root:
        tree = process_tree.Tree(root)
        seen_s = [tree.used().cpu_s]

        def ended() -> bool:
            tree.hold(process_tree.descendants(root))
            seen_s.append(tree.used().cpu_s)
            return sum(root.cpu_times()[2:4]) > 0.15  # of children that have ended

        until(ended, lambda: f"{root.cpu_times()}")
        seen_s.append(tree.used().cpu_s)
        assert seen_s == sorted(seen_s)
        assert seen_s[-1] <= sum(root.cpu_times()[:4]) + 0.05
        assert len(process_tree.descendants(root)) == 1
    tree.hold([])
    assert tree.used().cpu_s == pytest.approx(seen_s[-1], abs=0.05)
    assert tree.used().rss_mib == 0


def test_a_process_that_is_found_later_brings_no_time_of_before() -> None:
    """Only what it takes from then on counts."""
    with child(BUSY.format(0.2)) as late:
        spend_s(late, 0.2)
        tree = process_tree.Tree(psutil.Process())
        before_s = tree.used().cpu_s
        tree.hold([psutil.Process(), late])
        assert tree.used().cpu_s - before_s < 0.15


class Scripted:
    """A process with its own CPU time and the CPU time of its ended children."""

    def __init__(self, own_s: float, children_s: float = 0.0) -> None:
        self.own_s, self.children_s = own_s, children_s

    def oneshot(self):
        return nullcontext()

    def cpu_times(self) -> SimpleNamespace:
        return SimpleNamespace(
            user=self.own_s / 2,
            system=self.own_s / 2,
            children_user=self.children_s / 2,
            children_system=self.children_s / 2,
        )

    def memory_info(self) -> SimpleNamespace:
        return SimpleNamespace(rss=2**20)


def test_a_tree_in_figures() -> None:
    """Time from when a process was first seen; of one that ended once, with whoever waited for it or not at all."""
    root, waited, orphan = Scripted(5.0, 1.0), Scripted(2.0), Scripted(3.0)
    tree = process_tree.Tree(root)
    assert tree.used() == Used(cpu_s=0.0, rss_mib=1.0)
    tree.hold([root, waited, orphan])
    assert tree.used() == Used(cpu_s=0.0, rss_mib=3.0)
    root.own_s, waited.own_s, orphan.own_s = 5.5, 2.25, 4.0
    assert tree.used().cpu_s == 1.75
    root.children_s += waited.own_s  # it ended, and was waited for
    tree.hold([root, orphan])
    assert tree.used() == Used(cpu_s=1.75, rss_mib=2.0)
    tree.hold([root])  # this one nobody waited for
    assert tree.used().cpu_s == 1.75
    root.own_s += 0.5
    root.children_s += 0.25  # a child that began and ended since
    assert tree.used().cpu_s == 2.5


def test_processes_that_are_gone() -> None:
    """Are no processes, have no descendants and take nothing."""
    with child("") as gone:
        pass
    assert process_tree.process_of(gone.pid) is None
    assert process_tree.descendants(gone) == []
    assert process_tree.Tree(gone).used().cpu_s == 0


def test_whose_child_it_is() -> None:
    """Among processes that all descend from the test, the descendants of one of them; others are excluded."""
    deeper = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'input()'], stdin=0)"
    with child(deeper) as root, child(deeper) as stranger:
        for process in (root, stranger):
            until(lambda p=process: len(process_tree.descendants(p)) == 2, lambda p=process: f"{p.children()}")
        members = process_tree.within(root, process_tree.descendants(psutil.Process()))
        assert members == process_tree.descendants(root)
        assert len(members) == 2
        assert stranger not in members


def test_who_listens() -> None:
    """This process, on a port that it listens on; nobody on another."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert process_tree.listener_on("127.0.0.1", port) == os.getpid()
    assert process_tree.listener_on("127.0.0.1", port) is None


def listening(ip: str, pid: int | None, port: int = 80) -> SimpleNamespace:
    return SimpleNamespace(status=psutil.CONN_LISTEN, laddr=SimpleNamespace(ip=ip, port=port), pid=pid)


@pytest.mark.parametrize(
    ("there", "pid"),
    [
        ([listening("127.0.0.1", 2), listening("10.0.0.5", 3)], 2),  # one port, two servers
        ([listening("0.0.0.0", 2), listening("127.0.0.1", 3)], 3),
        ([listening("::", 2), listening("10.0.0.5", 3)], 2),
        ([listening("::ffff:127.0.0.1", 2)], 2),
        ([listening("10.0.0.5", 3)], None),
        ([listening("127.0.0.1", 2, port=81)], None),
        ([listening("127.0.0.1", None)], None),
        ([listening("127.0.0.1", 5), listening("127.0.0.1", 4)], 4),  # 4 has started 5
        ([listening("127.0.0.1", 2), listening("127.0.0.1", 3)], None),  # by turns
    ],
)
def test_a_port_alone_is_no_server(monkeypatch: pytest.MonkeyPatch, there: list, pid: int | None) -> None:
    """The address counts, too; a socket of several processes is that of the first one."""
    children = {4: [SimpleNamespace(pid=5)]}
    monkeypatch.setattr(psutil, "net_connections", lambda _: there)
    monkeypatch.setattr(psutil, "Process", lambda pid: SimpleNamespace(children=lambda **_: children.get(pid, [])))
    assert process_tree.listener_on("127.0.0.1", 80) == pid


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("127.0.1.1", True), ("localhost", True), ("::1", True), ("192.0.2.1", False)],
)
def test_what_is_here(host: str, here: bool) -> None:
    """Loopback and own addresses; nothing else, and no name that nobody knows."""
    assert process_tree.is_here(host) is here
    assert not process_tree.is_here("no.such.host.invalid")


def test_a_system_that_tells_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sensors, no clocks, swapping not counted: None, and no warning."""

    def warns():
        warnings.warn("sin and sout could not be determined", RuntimeWarning, stacklevel=1)

    monkeypatch.setattr(psutil, "swap_memory", warns)
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    monkeypatch.setattr(psutil, "cpu_freq", lambda: None)
    sample = Machine({}).sample(0, 0, timed=False)
    assert (sample.swapped_mib, sample.swap_used_mib, sample.cpu_c, sample.cpu_mhz) == (None, None, None, None)


def test_the_processors_sensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own ones only, the hottest of them; kept for some seconds."""
    now = [100.0]
    heat = [71.0]

    def sensors():
        def entry(celsius):
            return type("Entry", (), {"current": celsius})()

        return {"nvme": [entry(99.0)], "coretemp": [entry(60.0), entry(heat[0])]}

    monkeypatch.setattr(psutil, "sensors_temperatures", sensors, raising=False)
    machine = Machine({}, clock=lambda: now[0])
    assert machine.sample(0, 0, timed=True).cpu_c == 71.0
    heat[0] = 80.0
    assert machine.sample(0, 0, timed=True).cpu_c == 71.0
    now[0] += module.SENSORS_S
    assert machine.sample(0, 0, timed=True).cpu_c == 80.0
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: {"nvme": []})
    now[0] += module.SENSORS_S
    assert machine.sample(0, 0, timed=True).cpu_c is None


def test_new_processes_are_found_outside_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for them takes longest: every 5 s between rounds, every 30 s within one."""
    now, looks = [0.0], []
    machine = Machine({}, clock=lambda: now[0])
    monkeypatch.setattr(module, "descendants", lambda root: looks.append(now[0]) or [root])
    for at, timed in [(0, False), (4, False), (6, True), (7, False), (20, True), (37, True)]:
        now[0] = float(at)
        machine.sample(0, 0, timed=timed)
    assert looks == [0.0, 7.0, 37.0]
