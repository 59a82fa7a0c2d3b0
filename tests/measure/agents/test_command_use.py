"""What a command uses, with all that it starts: CPU time, and memory that its parents' memory does not hide."""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pytest_llmperf.measure.agents.process_reaper import Memory
from pytest_llmperf.measure.agents.running_command import CommandUse, RunningCommand

MIB = 2**20

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


def use_of(*words: str) -> CommandUse:
    async def run() -> CommandUse:
        with tempfile.TemporaryFile() as output:
            running = RunningCommand(words, env=os.environ, output=output)
            try:
                assert await running.exit_code() == 0
            finally:
                await running.end()
        assert running.use is not None
        return running.use

    return asyncio.run(run())


BUSY = """
import os, sys, time
held = b"x" * {size}
child = os.fork() if {forks} else 0
while time.process_time() < {seconds}:
    pass
if child:
    os.waitpid(child, 0) if {waits} else None
"""


@linux
@pytest.mark.parametrize("waits", [True, False], ids=["waited for", "left behind"])
def test_the_cpu_time_of_all_processes(waits: bool) -> None:
    """The child's, too, even if its parent ends first without waiting for it: then it is ended and counted."""
    before_ns = time.monotonic_ns()
    use = use_of(sys.executable, "-I", "-S", "-c", BUSY.format(size=0, forks=True, seconds=0.1, waits=waits))
    assert before_ns < use.begun_ns < time.monotonic_ns()
    assert use.cpu_ns is not None
    assert use.cpu_ns > (200_000_000 if waits else 100_000_000)


@linux
def test_the_peak_memory_of_a_command_that_ends_at_once() -> None:
    """However late anybody looks."""
    use = use_of(sys.executable, "-I", "-S", "-c", BUSY.format(size=80 * MIB, forks=False, seconds=0, waits=False))
    assert use.peak_rss_bytes is not None
    assert use.peak_rss_bytes > 80 * MIB


@linux
def test_the_memory_of_this_process_is_not_the_commands() -> None:
    """`ru_maxrss` of a new process begins with that of its parent."""
    ballast = bytearray(os.urandom(1)) * (120 * MIB)
    use = use_of("true")
    assert len(ballast) == 120 * MIB
    assert (use.peak_rss_bytes or 0) < 100 * MIB
    assert use.cpu_ns is not None


class Proc:
    """Processes of a made-up machine: the children of each task, and the peak memory of each, KiB."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def show(self, pid: int, *, kib: int | None, children: tuple[tuple[int, ...], ...] = ((),)) -> None:
        place = self._folder / str(pid)
        place.mkdir(exist_ok=True)
        (place / "status").write_text(
            "Name:\tx\n" + (f"VmPeak:\t 9 kB\nVmHWM:\t  {kib} kB\n" if kib else "State:\tZ\n")
        )
        for task, pids in enumerate(children):
            (place / "task" / str(task)).mkdir(parents=True, exist_ok=True)
            (place / "task" / str(task) / "children").write_text("".join(f"{child} " for child in pids))


def test_the_highest_sum_of_those_that_live_together(tmp_path: Path) -> None:
    """Processes one after the other are not added up; a child of any thread counts, and an ended process has none."""
    proc = Proc(tmp_path)
    proc.show(os.getpid(), kib=1000, children=((11,), (12, 13)))
    memory = Memory(str(tmp_path))
    assert memory.peak_bytes(0) == 0
    for child in (11, 12):
        proc.show(child, kib=300)
    proc.show(13, kib=None)  # a zombie; 14 is gone when it is looked at
    proc.show(12, kib=300, children=((14,),))
    memory.look()
    assert memory.peak_bytes(0) == 600 * 1024
    proc.show(os.getpid(), kib=1000, children=((15,), ()))
    proc.show(15, kib=500)
    memory.look()
    assert memory.peak_bytes(0) == 600 * 1024


def test_what_ended_processes_had_counts_above_what_they_began_with(tmp_path: Path) -> None:
    """A process begins as a copy of the reaper; only more than that is its own."""
    proc = Proc(tmp_path)
    proc.show(os.getpid(), kib=1000, children=((11,),))
    proc.show(11, kib=300)
    memory = Memory(str(tmp_path))
    memory.look()
    assert memory.peak_bytes(1000 * 1024) == 300 * 1024
    assert memory.peak_bytes(1001 * 1024) == 1001 * 1024
