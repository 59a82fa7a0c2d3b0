"""Samples of the machine while rounds run: processors, memory, processes and GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """The resources that a process and its descendants have used.

    Attributes:
        cpu_s: CPU time since the telemetry began, s.
        rss_mib: resident memory now, MiB.
    """

    cpu_s: float
    rss_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """A GPU at one moment; None: not reported.

    Attributes:
        memory_used_mib, memory_total_mib: memory used by all processes, and total memory, MiB.
        utilisation_pct: share of the last moments in which it computed, %.
        sm_clock_mhz: clock of its processors, MHz.
        temperature_c: temperature, C.
        power_w: power, W.
        slowed_by: slowdowns by heat or hardware, in words; without idleness, settings and the usual power cap.
    """

    memory_used_mib: float | None = None
    memory_total_mib: float | None = None
    utilisation_pct: float | None = None
    sm_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    slowed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The machine at one moment of a round. Counters (CPU time, swapping) start with the first sample.

    Attributes:
        at_ns: the moment, on the clock of the requests.
        round: the round's index; the first and last samples of a round are taken just outside its timed part.
        busy_s: CPU time of all processes of the machine, s.
        stolen_s: time stolen by a hypervisor, s.
        client: resources of this process with its descendants, without the servers.
        servers: resources by name of each instance whose processes are known.
        memory_used_mib, memory_available_mib: used and available memory of the machine, MiB.
        swap_used_mib: used swap, MiB; None: unknown.
        swapped_mib: amount moved between memory and swap, both ways, MiB; None: unknown.
        cpu_c: temperature of the processor, C; None: no sensor.
        cpu_mhz: mean clock of its cores, MHz; None: unknown.
        gpus: the GPUs in the order of Telemetry.gpus.
    """

    at_ns: int
    round: int
    busy_s: float
    client: Used
    memory_used_mib: float
    memory_available_mib: float
    stolen_s: float = 0.0
    servers: Mapping[str, Used] = field(default_factory=dict)
    swap_used_mib: float | None = None
    swapped_mib: float | None = None
    cpu_c: float | None = None
    cpu_mhz: float | None = None
    gpus: tuple[GpuSample, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Samples of this machine while the rounds of a measurement ran, and what they cost.

    Attributes:
        every_s: time between two samples of a round, s; it grows in a long run.
        cores: number of cores of the machine.
        samples: the samples in the order of time.
        gpus: names of the GPUs.
        complete: whether the processes of every instance are among `servers`, so that the rest belongs to others.
        cost_s: CPU time that sampling took, s.
        dearest_ms: the maximum CPU time of one sample while a round was timed, ms.
        notes: what could not be observed, and why.
    """

    every_s: float
    cores: int
    samples: tuple[Sample, ...] = ()
    gpus: tuple[str, ...] = ()
    complete: bool = False
    cost_s: float = 0.0
    dearest_ms: float = 0.0
    notes: tuple[str, ...] = ()
