"""Who used the machine's processors while rounds ran, and whether it swapped or slowed down."""

from __future__ import annotations

from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_llmperf.model import Measurement, Sample, Telemetry

_SHORTEST_S = 0.1
"""The shortest time over which CPU time is evaluated, s: the system counts it in steps of 10 ms."""

_SWAPS_MIB_S = 1.0
"""Less than this moves between memory and swap on any machine."""

_OFTEN = 0.1
"""A GPU that throttled in this share of its samples counts as throttled."""

_FEWEST, _SUNK, _WARMER_C = 6, 0.9, 3.0
"""A clock fell with temperature if, of at least _FEWEST samples, the last third has less than _SUNK of the clock of the
first third and is _WARMER_C warmer."""

_BUSY_PCT = 50.0
"""A GPU that computes less than this may lower its clock because it can."""


def neighbour_cores(measurement: Measurement) -> float | None:
    """Cores that processes which are neither client nor servers used while the rounds ran; the median over rounds.

    None: not known, because nothing was sampled, or an instance's processes are not known or on another machine.
    """
    telemetry = measurement.telemetry
    if telemetry is None or not telemetry.complete:
        return None
    return _median([max(0.0, others) for _, _, others in _cores(telemetry)])


def busy_cores(measurement: Measurement) -> float | None:
    """Cores that all processes of this machine used while the rounds ran, the median over rounds; None: not known."""
    return _median([busy for busy, _, _ in _cores(measurement.telemetry)])


def client_cores(measurement: Measurement) -> float | None:
    """Cores that the client used while the rounds ran, as `busy_cores`."""
    return _median([client for _, client, _ in _cores(measurement.telemetry)])


def swapping(measurement: Measurement) -> str:
    """How much the machine swapped while the rounds ran, in words; empty if it did not, or if unknown."""
    moved, lasted_s = 0.0, 0.0
    for first, last in _spans(measurement.telemetry):
        if first.swapped_mib is not None and last.swapped_mib is not None:
            moved += last.swapped_mib - first.swapped_mib
            lasted_s += _s(first, last)
    if not lasted_s or moved / lasted_s < _SWAPS_MIB_S:
        return ""
    return f"{moved:.0f} MiB moved between memory and swap during the rounds ({moved / lasted_s:.1f} MiB/s)"


def throttled(measurement: Measurement) -> str:
    """The parts of the machine that throttled during the rounds, in words; empty if none did, or if unknown.

    By the reasons that a GPU gives, else by a clock that sank while it got warmer.
    """
    telemetry = measurement.telemetry
    if telemetry is None:
        return ""
    throttled_parts = [_gpu_throttled(telemetry, index) for index in range(len(telemetry.gpus))]
    clocks = [(sample.cpu_mhz, sample.cpu_c) for sample in telemetry.samples]
    return "; ".join(filter(None, (*throttled_parts, _sank("the processor", clocks))))


def sampled_s(telemetry: Telemetry) -> float:
    """How long rounds ran that were looked at, s."""
    groups = (tuple(group) for _, group in groupby(telemetry.samples, lambda sample: sample.round))
    return sum(_s(group[0], group[-1]) for group in groups)


def _cores(telemetry: Telemetry | None) -> list[tuple[float, float, float]]:
    """The cores used in each round: by all processes, by the client, and by all others but the servers."""
    cores = []
    for first, last in _spans(telemetry):
        busy_s, client_s = last.busy_s - first.busy_s, last.client.cpu_s - first.client.cpu_s
        servers_s = sum(used.cpu_s - first.servers[name].cpu_s for name, used in last.servers.items())
        lasted_s = _s(first, last)
        cores.append((busy_s / lasted_s, client_s / lasted_s, (busy_s - client_s - servers_s) / lasted_s))
    return cores


def _spans(telemetry: Telemetry | None) -> Iterator[tuple[Sample, Sample]]:
    """The first and the last sample of each round that is long enough."""
    for _, group in groupby(telemetry.samples if telemetry is not None else (), lambda sample: sample.round):
        first, *others = group
        if others and _s(first, others[-1]) >= _SHORTEST_S:
            yield first, others[-1]


def _s(first: Sample, last: Sample) -> float:
    return (last.at_ns - first.at_ns) / 1e9


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _gpu_throttled(telemetry: Telemetry, index: int) -> str:
    """The throttling that one GPU reports, else the throttling that its clock shows."""
    name = f"GPU {index} ({telemetry.gpus[index]})"
    samples = [sample.gpus[index] for sample in telemetry.samples]
    slowed = [sample for sample in samples if sample.slowed_by]
    if slowed and len(slowed) >= _OFTEN * len(samples):
        reasons = ", ".join(dict.fromkeys(reason for sample in slowed for reason in sample.slowed_by))
        hottest = max((sample.temperature_c for sample in samples if sample.temperature_c is not None), default=None)
        warm = f", up to {hottest:.0f} C" if hottest is not None else ""
        return f"{name} throttled in {len(slowed)} of {len(samples)} samples: {reasons}{warm}"
    at_work = [sample for sample in samples if sample.utilisation_pct is None or sample.utilisation_pct >= _BUSY_PCT]
    return _sank(name, [(sample.sm_clock_mhz, sample.temperature_c) for sample in at_work])


def _sank(name: str, samples: Sequence[tuple[float | None, float | None]]) -> str:
    """Whether a clock sank while it got warmer, in words; of clock and temperature of each sample."""
    known = [(mhz, c) for mhz, c in samples if mhz is not None and c is not None]
    if len(known) < _FEWEST:
        return ""
    third = len(known) // 3
    (mhz, c), (later_mhz, later_c) = (
        (median(mhz for mhz, _ in part), median(c for _, c in part)) for part in (known[:third], known[-third:])
    )
    if later_mhz >= _SUNK * mhz or later_c < c + _WARMER_C:
        return ""
    return f"the clock of {name} fell from {mhz:.0f} to {later_mhz:.0f} MHz as it went from {c:.0f} to {later_c:.0f} C"
