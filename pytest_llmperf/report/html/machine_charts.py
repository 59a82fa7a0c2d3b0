"""Charts of the machine over time: processors, memory, temperatures and GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from pytest_llmperf.report.html.charts import MOST_MARKS, Chart, colour_scale, drawn, quantile

Plain = Mapping[str, Any]
Series = dict[str, list[tuple[float, float]]]
"""Seconds from the first sample and a value, by name."""

_SHORTEST_S = 0.05
"""The system counts CPU time in steps of 10 ms, so shorter spans are not drawn."""

_GPU = (
    ("GPU memory in use", "MiB", "memory_used_mib"),
    ("GPU load", "%", "utilisation_pct"),
    ("Clock of the GPU's processors", "MHz", "sm_clock_mhz"),
    ("Power of the GPU", "W", "power_w"),
)
"""Title and unit of a chart, and the field of a GPU that it shows."""


def machine_charts(telemetry: Plain | None) -> Iterator[Chart]:
    """A chart per unit that was observed.

    Args:
        telemetry: the telemetry of a measurement, from the document; None: nothing was observed.
    """
    if telemetry is None or not telemetry["samples"]:
        return
    note = "Means between two samples taken during rounds. Others: all processes except client and servers."
    yield from _chart("The machine's processors", "cores", _cores(telemetry), note)
    resident = _series(telemetry, lambda sample: {name: used["rss_mib"] for name, used in _users(sample).items()})
    yield from _chart("Resident memory", "MiB", resident, "Of the client and the instances, with all their processes.")
    heat = _series(telemetry, lambda sample: {"processor": sample["cpu_c"], **_gpus(sample, "temperature_c")})
    yield from _chart("Temperature", "C", heat, "")
    for title, unit, field in _GPU:
        yield from _chart(title, unit, _series(telemetry, partial(_gpus, field=field)), "")


def _chart(title: str, unit: str, series: Series, note: str) -> Iterator[Chart]:
    if series:
        yield _lines_chart(title, unit, series, note)


def _cores(telemetry: Plain) -> Series:
    """The cores in use between two samples of a round, by user."""
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
    """The resource use of client and instances."""
    return {"client": sample["client"], **{f"instance {name}": used for name, used in sample["servers"].items()}}


def _gpus(sample: Plain, field: str) -> dict[str, float | None]:
    return {f"GPU {number}": gpu[field] for number, gpu in enumerate(sample["gpus"])}


def _series(telemetry: Plain, of: Callable[[Plain], Mapping[str, float | None]]) -> Series:
    """Known values of each sample, by name."""
    series: Series = {}
    samples: Sequence[Plain] = telemetry["samples"]
    for sample in samples:
        for name, value in of(sample).items():
            if value is not None:
                series.setdefault(name, []).append(((sample["at_ns"] - samples[0]["at_ns"]) / 1e9, value))
    return series


def _lines_chart(title: str, unit: str, series: Mapping[str, Sequence[tuple[float, float]]], note: str) -> Chart:
    """Values over time, a line for each name.

    Args:
        title: the title of the chart.
        unit: the unit of the values.
        series: seconds and value, by name; one or more each, in the order of time.
        note: how to read it.
    """
    points = [
        {"of": name, "at": at_s, "value": value} for name, values in series.items() for at_s, value in _largest(values)
    ]
    names = list(series)
    spec = {
        "data": {"values": points},
        "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 18, "aria": False}},
        "encoding": {
            "x": {"field": "at", "type": "quantitative", "title": "s from the first round"},
            "y": {"field": "value", "type": "quantitative", "title": unit},
            "color": {
                "field": "of",
                "type": "nominal",
                "sort": None,
                "scale": colour_scale(names),
                "legend": {"orient": "top", "title": None},
            },
        },
    }
    rows: list[tuple[str | float, ...]] = []
    for name, values in series.items():
        ordered = sorted(value for _, value in values)
        rows.append((name, len(ordered), ordered[0], quantile(ordered, 0.5), ordered[-1]))
    header = ("series", "samples", *(f"{word}, {unit}" for word in ("minimum", "median", "maximum")))
    return drawn(spec, title=title, note=note, header=header, rows=rows)


def _largest(values: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """The values; if there are many, the largest of neighbouring ones."""
    size = -(-len(values) // MOST_MARKS)
    return [max(values[i : i + size], key=lambda point: point[1]) for i in range(0, len(values), size)]
