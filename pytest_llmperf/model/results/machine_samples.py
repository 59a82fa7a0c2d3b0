"""What the machine did beside the rounds: samples of processors, memory, processes and GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a process and those that it started have taken.

    Attributes:
        cpu_s: CPU time since the telemetry began, s.
        rss_mib: resident memory now, MiB.
    """

    cpu_s: float
    rss_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """A GPU at one moment; None: it does not say.

    Attributes:
        memory_used_mib, memory_total_mib: of all that use it, and of the GPU, MiB.
        utilisation_pct: share of the last moments in which it computed, %.
        sm_clock_mhz: of its processors, MHz.
        temperature_c: C.
        power_w: W.
        slowed_by: by heat or hardware, in words; neither idleness, settings nor the usual power cap are among them.
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
    """The machine at one moment of a round. What is counted (CPU time, swapping) counts from the first sample on.

    Attributes:
        at_ns: the moment, on the clock of the requests.
        round: the round's index; its first and its last sample stand just outside of its clock.
        busy_s: CPU time of all processes of the machine, s.
        stolen_s: time in which the machine, a virtual one, was not run though it wanted to, s.
        client: this process with all that it started, without the servers.
        servers: of each instance whose processes are known, by its name.
        memory_used_mib, memory_available_mib: of the machine, MiB.
        swap_used_mib: MiB; None: not known.
        swapped_mib: what moved between memory and swap, both ways, MiB; None: not known.
        cpu_c: of the processor, C; None: no sensor.
        cpu_mhz: mean clock of its cores, MHz; None: not known.
        gpus: in the order of Telemetry.gpus.
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
    """What was sampled while the rounds of a measurement ran, on this machine, and what that cost.

    Attributes:
        every_s: asked time between two samples of a round, s; of a long run it grows.
        cores: of the machine.
        samples: in the order of time.
        gpus: their names.
        complete: whether the processes of every instance are among `servers`, so that the rest is of others.
        cost_s: CPU time that sampling took, s.
        dearest_ms: the most CPU time that one sample took while a round was timed, ms.
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
