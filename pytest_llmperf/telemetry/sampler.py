"""Samples the machine while rounds run: just before and after each round, and seldom in between, in its own thread.

No thread runs between rounds. A sample is a few reads of small files, each of which lets other threads run; its cost is
measured each time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pytest_llmperf.model import Sample, Telemetry

if TYPE_CHECKING:
    from pytest_llmperf.telemetry.gpu import Gpus

MANY = 1000
"""The time between two samples doubles each time this many have been taken: the samples of a day stay small."""

SELDOM_S = 30.0
"""The longest time between two samples (H.2)."""


class Source(Protocol):
    """Something to sample; `Machine` is one."""

    cores: int
    gpus: Gpus | None

    def sample(self, at_ns: int, index: int, *, timed: bool) -> Sample:
        """A sample of the current state."""
        ...


class Sampler:
    """Samples of one measurement.

    Args:
        source: what to sample.
        every_s: time between two samples of a round, s.
        complete: whether the processes of every instance are known.
        notes: what cannot be observed.
        clock: monotonic nanoseconds, the clock of the requests.
    """

    def __init__(
        self,
        source: Source,
        *,
        every_s: float,
        complete: bool = False,
        notes: tuple[str, ...] = (),
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._source = source
        self._asked_s = self._every_s = every_s
        self._complete = complete
        self._notes = notes
        self._clock = clock
        self._samples: list[Sample] = []
        self._cost_ns = self._dearest_ns = 0
        self._broken = False

    @contextmanager
    def round(self, index: int) -> Iterator[None]:
        """Samples while a round runs; once samples have become seldom, not every round has any."""
        if self._broken or not self._due():
            yield
            return
        self._take(index, timed=False)
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(index, over), daemon=True, name="llmperf-telemetry")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._take(index, timed=False)

    def look(self) -> Sample | None:
        """A sample of the machine now, to see what can be observed; None if it cannot be read."""
        try:
            return self._source.sample(self._clock(), 0, timed=False)
        except Exception as error:
            self._break(error)
            return None

    def seen(self) -> Telemetry:
        """All samples so far."""
        gpus = self._source.gpus
        return Telemetry(
            every_s=self._every_s,
            cores=self._source.cores,
            samples=tuple(self._samples),
            gpus=() if gpus is None else gpus.names,
            complete=self._complete,
            cost_s=self._cost_ns / 1e9,
            dearest_ms=self._dearest_ns / 1e6,
            notes=self._notes,
        )

    def _due(self) -> bool:
        """Whether to sample a round that begins now."""
        if self._every_s == self._asked_s or not self._samples:
            return True
        return self._clock() - self._samples[-1].at_ns >= self._every_s * 1e9

    def _watch(self, index: int, over: threading.Event) -> None:
        while not over.wait(self._every_s) and not self._broken:
            self._take(index, timed=True)

    def _take(self, index: int, *, timed: bool) -> None:
        """Takes one sample. A failure must never fail a measurement."""
        if self._broken:
            return
        began_ns = time.thread_time_ns()
        try:
            self._samples.append(self._source.sample(self._clock(), index, timed=timed))
        except Exception as error:
            self._break(error)
            return
        took_ns = time.thread_time_ns() - began_ns
        self._cost_ns += took_ns
        if timed:
            self._dearest_ns = max(self._dearest_ns, took_ns)
        if len(self._samples) % MANY == 0:
            self._every_s = max(self._asked_s, min(2 * self._every_s, SELDOM_S))

    def _break(self, error: Exception) -> None:
        """Stops sampling."""
        self._broken = True
        self._notes = (*self._notes, f"it ended early: {type(error).__name__}: {error}")
