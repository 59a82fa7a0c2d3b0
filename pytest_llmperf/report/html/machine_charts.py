"""The machine beside the rounds, as charts over time: who used its processors and memory, and its GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from pytest_llmperf.report.html.charts import Chart, lines_chart

Plain = Mapping[str, Any]
Series = dict[str, list[tuple[float, float]]]
"""Seconds from the first sample, and a value, by the name of what it is of."""

_SHORTEST_S = 0.05
"""The system counts CPU time in steps of 10 ms: of shorter times nothing is drawn."""

_GPU = (
    ("GPU memory in use", "MiB", "memory_used_mib"),
    ("GPU load", "%", "utilisation_pct"),
    ("Clock of the GPU's processors", "MHz", "sm_clock_mhz"),
    ("Power of the GPU", "W", "power_w"),
)
"""Title and unit of a chart, and what of a GPU it shows."""


def machine_charts(telemetry: Plain | None) -> Iterator[Chart]:
    """A chart for each unit in which something was observed.

    Args:
        telemetry: of a measurement, as the document holds it; None: nothing was observed.
    """
    if telemetry is None or not telemetry["samples"]:
        return
    note = (
        "Samples are taken while rounds run; means between two of them. Others: all processes but client and servers."
    )
    yield from _chart("The machine's processors", "cores", _cores(telemetry), note)
    resident = _series(telemetry, lambda sample: {name: used["rss_mib"] for name, used in _users(sample).items()})
    yield from _chart("Resident memory", "MiB", resident, "Of client and instances, with all their processes.")
    heat = _series(telemetry, lambda sample: {"processor": sample["cpu_c"], **_gpus(sample, "temperature_c")})
    yield from _chart("Temperature", "C", heat, "")
    for title, unit, field in _GPU:
        yield from _chart(title, unit, _series(telemetry, partial(_gpus, field=field)), "")


def _chart(title: str, unit: str, series: Series, note: str) -> Iterator[Chart]:
    if series:
        yield lines_chart(title, unit, series, note)


def _cores(telemetry: Plain) -> Series:
    """Who used how many cores between each two samples of a round."""
    series: Series = {}
    start_ns = telemetry["samples"][0]["at_ns"]
    for before, after in pairwise(telemetry["samples"]):
        lasted_s = (after["at_ns"] - before["at_ns"]) / 1e9
        if before["round"] != after["round"] or lasted_s < _SHORTEST_S:
            continue
        cores = {
            name: (used["cpu_s"] - _users(before)[name]["cpu_s"]) / lasted_s for name, used in _users(after).items()
        }
        busy = (after["busy_s"] - before["busy_s"]) / lasted_s
        cores["others" if telemetry["complete"] else "whole machine"] = (
            max(0.0, busy - sum(cores.values())) if telemetry["complete"] else busy
        )
        for name, value in cores.items():
            series.setdefault(name, []).append(((after["at_ns"] - start_ns) / 1e9, value))
    return series


def _users(sample: Plain) -> dict[str, Plain]:
    """What client and instances have taken."""
    return {"client": sample["client"], **{f"instance {name}": used for name, used in sample["servers"].items()}}


def _gpus(sample: Plain, field: str) -> dict[str, float | None]:
    return {f"GPU {number}": gpu[field] for number, gpu in enumerate(sample["gpus"])}


def _series(telemetry: Plain, of: Callable[[Plain], Mapping[str, float | None]]) -> Series:
    """Values of each sample, by name, without those that are not known."""
    series: Series = {}
    samples: Sequence[Plain] = telemetry["samples"]
    for sample in samples:
        for name, value in of(sample).items():
            if value is not None:
                series.setdefault(name, []).append(((sample["at_ns"] - samples[0]["at_ns"]) / 1e9, value))
    return series
