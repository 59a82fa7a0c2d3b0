"""When samples are taken, on a scripted machine; and what they cost on this one."""

import os
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from pytest_llmperf.model import Sample
from pytest_llmperf.telemetry.machine_reader import Machine
from pytest_llmperf.telemetry.sampler import MANY, SELDOM_S, Sampler
from tests.judge.build import sample
from tests.plugin.conftest import until


class Scripted:
    """A machine that notes who asks."""

    cores = 2
    gpus = None

    def __init__(self, *, breaks_at: int = -1) -> None:
        self.asked: list[tuple[int, bool, str]] = []
        self._breaks_at = breaks_at

    def sample(self, at_ns: int, index: int, *, timed: bool) -> Sample:
        if len(self.asked) == self._breaks_at:
            raise OSError("no such file")
        self.asked.append((index, timed, threading.current_thread().name))
        return sample(at_ns / 1e9, index=index)


def test_before_in_and_after_a_round() -> None:
    """One before and one after, by whoever runs it; in between at the asked distance, by a thread that then ends."""
    machine = Scripted()
    sampler = Sampler(machine, every_s=0.02)
    with sampler.round(3):
        until(lambda: len(machine.asked) >= 3, lambda: f"{machine.asked}")
    main = threading.current_thread().name
    assert machine.asked[0] == (3, False, main)
    assert machine.asked[-1] == (3, False, main)
    assert set(machine.asked[1:-1]) == {(3, True, "llmperf-telemetry")}
    assert [thread.name for thread in threading.enumerate()].count("llmperf-telemetry") == 0
    telemetry = sampler.seen()
    assert [sample.round for sample in telemetry.samples] == [3] * len(machine.asked)
    assert (telemetry.every_s, telemetry.cores, telemetry.gpus) == (0.02, 2, ())
    assert 0 < telemetry.dearest_ms / 1e3 < telemetry.cost_s


def test_a_round_that_fails() -> None:
    """Its thread ends as well, and its samples stay."""
    machine = Scripted()
    sampler = Sampler(machine, every_s=0.02)
    with pytest.raises(KeyError), sampler.round(0):
        raise KeyError
    assert len(machine.asked) == 2
    assert sampler.seen().dearest_ms == 0  # none within a round
    assert "llmperf-telemetry" not in [thread.name for thread in threading.enumerate()]


def test_samples_of_a_long_run_become_seldom() -> None:
    """After a number of samples the interval doubles, up to 30 s; then some rounds have no samples."""
    now = [0]
    machine = Scripted()
    sampler = Sampler(machine, every_s=1.0, clock=lambda: now[0])
    distances, taken = [], []
    for index in range(6 * MANY):
        now[0] += 10 * 10**9
        before = len(machine.asked)
        with sampler.round(index):
            pass
        distances.append(sampler.seen().every_s)
        taken.append(len(machine.asked) - before)
    assert list(dict.fromkeys(distances)) == [1.0, 2.0, 4.0, 8.0, 16.0, SELDOM_S]
    assert set(taken[: 2 * MANY]) == {2}
    assert sorted(taken[-6:]) == [0, 0, 0, 0, 2, 2]


@pytest.mark.parametrize("breaks_at", [0, 1])
def test_a_machine_that_does_not_tell(breaks_at: int) -> None:
    """The measurement goes on; one note says so, and the sampler does not try again."""
    machine = Scripted(breaks_at=breaks_at)
    sampler = Sampler(machine, every_s=0.02, notes=("no GPU",))
    for index in range(3):
        with sampler.round(index):
            pass
    telemetry = sampler.seen()
    assert telemetry.notes == ("no GPU", "it ended early: OSError: no such file")
    assert len(telemetry.samples) == breaks_at
    assert sampler.look() is None or breaks_at


def test_a_look_is_no_sample() -> None:
    """It says what can be seen, and leaves no trace."""
    sampler = Sampler(Scripted(), every_s=1.0)
    assert sampler.look().round == 0
    assert sampler.seen().samples == ()


@pytest.mark.usefixtures("fresh_servers")
def test_this_machine_is_looked_at_for_as_long_as_a_few_files_are_read() -> None:
    """CPU time of a sample in a round, which bounds how long it can keep other threads from running.

    The least of many, for on a busy machine caches are cold; the first one in a round does more (see the processes).
    """
    machine = Machine({})
    machine.sample(0, 0, timed=False)

    def cost_ns(work: Callable[[], object]) -> int:
        began_ns = time.thread_time_ns()
        work()
        return time.thread_time_ns() - began_ns

    looking_ns = min(cost_ns(lambda i=i: machine.sample(i, 0, timed=True)) for i in range(50))
    reading_ns = min(cost_ns(psutil.cpu_times) for _ in range(50))  # reads /proc/stat
    assert looking_ns < 30 * reading_ns
    assert machine.cores == os.cpu_count()
