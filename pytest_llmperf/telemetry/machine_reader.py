"""Reads this machine with psutil, and its GPUs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress

import psutil

from pytest_llmperf.model import Sample
from pytest_llmperf.telemetry.gpu import Gpus
from pytest_llmperf.telemetry.process_tree import Tree, descendants, within

TREES_S, TREES_TIMED_S = 5.0, 30.0
"""How long a list of processes is used, outside of the clock and while it runs; making one takes longest."""

SENSORS_S = 5.0
"""How long a reading of the sensors is used."""

_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal")
"""Names of a processor's own sensors on Linux."""

_BUSY = ("user", "nice", "system", "irq", "softirq")
"""CPU times of processes; a guest's time is in the first two."""

_MIB = 2**20


class Machine:
    """Reads this machine; counters start when the object is created.

    Args:
        servers: the first process of each instance that runs here and whose processes are known, by its name.
        gpus: the gpus of this machine.
        clock: monotonic seconds.

    Attributes:
        cores: how many it has.
        gpus: the given GPUs.
    """

    def __init__(
        self,
        servers: Mapping[str, psutil.Process],
        gpus: Gpus | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cores = psutil.cpu_count() or 1
        self.gpus = gpus
        self._clock = clock
        self._client = psutil.Process()
        self._roots = dict(servers)
        self._trees = {name: Tree(root) for name, root in servers.items()}
        self._own = Tree(self._client)
        self._busy_s, self._stolen_s = _busy()
        self._swapped_bytes = _swap()[0] if _swap_tells() else None
        self._sensed: tuple[float | None, float | None] = None, None
        self._sensed_s = self._looked_s = -1e9

    def sample(self, at_ns: int, index: int, *, timed: bool) -> Sample:
        """The machine now.

        Args:
            at_ns: now.
            index: the index of the round.
            timed: whether the clock of a round runs.
        """
        now_s = self._clock()
        if now_s - self._looked_s >= (TREES_TIMED_S if timed else TREES_S):
            self._looked_s = now_s
            self._look()
        if now_s - self._sensed_s >= SENSORS_S:
            self._sensed_s, self._sensed = now_s, (_cpu_c(), _cpu_mhz())
        busy_s, stolen_s = _busy()
        memory = psutil.virtual_memory()
        swapped_mib = swap_used_mib = None
        if self._swapped_bytes is not None:
            swapped_bytes, used_bytes = _swap()
            swapped_mib, swap_used_mib = (swapped_bytes - self._swapped_bytes) / _MIB, used_bytes / _MIB
        return Sample(
            at_ns=at_ns,
            round=index,
            busy_s=busy_s - self._busy_s,
            stolen_s=stolen_s - self._stolen_s,
            client=self._own.used(),
            servers={name: tree.used() for name, tree in self._trees.items()},
            memory_used_mib=memory.used / _MIB,
            memory_available_mib=memory.available / _MIB,
            swapped_mib=swapped_mib,
            swap_used_mib=swap_used_mib,
            cpu_c=self._sensed[0],
            cpu_mhz=self._sensed[1],
            gpus=() if self.gpus is None else self.gpus.read(),
        )

    def _look(self) -> None:
        """Updates the lists of processes; servers that were started are descendants of this process."""
        ours, theirs = descendants(self._client), set[psutil.Process]()
        for name, root in self._roots.items():
            members = within(root, ours) if root in ours else descendants(root)
            theirs.update(members)
            self._trees[name].hold(members)
        self._own.hold([process for process in ours if process not in theirs])


def _busy() -> tuple[float, float]:
    """CPU time of all processes, and time stolen by a hypervisor, s, since the machine was started."""
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in _BUSY), getattr(times, "steal", 0.0)


def _swap_tells() -> bool:
    """Whether the system reports how much it swaps; if it does not, psutil warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            psutil.swap_memory()
        except (RuntimeWarning, OSError, psutil.Error):
            return False
    return True


def _swap() -> tuple[int, int]:
    """Bytes swapped in and out since the machine was started, and bytes in swap now."""
    swap = psutil.swap_memory()
    return int(swap.sin + swap.sout), int(swap.used)


def _cpu_c() -> float | None:
    """The hottest of the processor's own sensors, C."""
    with suppress(OSError, AttributeError):  # not every system has the function
        readings = psutil.sensors_temperatures()
        for name in _SENSORS:
            if name in readings:
                return max((float(reading.current) for reading in readings[name]), default=None)
    return None


def _cpu_mhz() -> float | None:
    """The mean clock of the cores, MHz."""
    with suppress(OSError, AttributeError, NotImplementedError):
        frequency = psutil.cpu_freq()
        return float(frequency.current) if frequency is not None and frequency.current else None
    return None
