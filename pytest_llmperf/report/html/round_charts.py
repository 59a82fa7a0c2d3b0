"""Charts of a metric over rounds and over stored sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.report.html.charts import MOST_MARKS, Chart, drawn, line_or_points

_COLOURS = {"var(--bad)": "red", "var(--quiet)": "grey"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A horizontal line at `value` in a chart of rounds; `colour` is a key of `_COLOURS`."""

    name: str
    value: float
    colour: str


def rounds_chart(
    title: str,
    unit: str,
    values: Mapping[int, float],
    *,
    levels: Sequence[Level] = (),
    interval: tuple[float, float] | None = None,
    stored: Sequence[Sequence[float]] = (),
) -> Chart:
    """A metric per round, beside the stored rounds that it was compared with.

    Args:
        title: the title of the chart.
        unit: the unit of the values.
        values: the values by the number of the round, from 1.
        levels: limits and stored aggregates, drawn as lines.
        interval: the interval of the aggregate.
        stored: values of stored sessions, if any.
    """
    y = {"field": "value", "type": "quantitative", "title": unit, "scale": {"zero": False, "nice": True, "padding": 8}}
    x: dict[str, Any] = {
        "field": "at",
        "type": "quantitative",
        "title": "round",
        "axis": {"tickMinStep": 1, "format": "d"},
        "scale": {"zero": False, "nice": False, "padding": 12},
    }
    points = [
        {"at": number, "value": value, "says": f"round {number}: {value:.4f} {unit}"}
        for number, value in values.items()
    ]
    levels_of = [_level_layer(level, y, unit) for level in levels]
    layers = [*_interval_layers(interval, y), *levels_of, line_or_points(points, x, y)]
    spec: dict[str, Any] = {"layer": layers}
    if stored:
        ticks = {"width": 60, **_stored_ticks(stored, y, unit)}
        spec = {"hconcat": [ticks, {"width": -100, **spec}], "resolve": {"scale": {"y": "shared"}}}
    dashed = "; ".join(f"dashed, {_COLOURS[level.colour]}: {level.name}" for level in levels)
    band = "shaded: 95 % CI" if interval is not None else ""
    rows: list[tuple[str | float, ...]] = [
        ("stored", number, value) for number, session in enumerate(stored, 1) for value in session
    ]
    rows += [("this run", number, value) for number, value in values.items()]
    return drawn(
        spec,
        title=title,
        note="; ".join(filter(None, (dashed, band, "left: rounds of stored sessions" if stored else ""))),
        header=("from", "round or session", unit),
        rows=rows,
    )


def _interval_layers(interval: tuple[float, float] | None, y: dict[str, Any]) -> list[dict[str, Any]]:
    """A band across the chart, if there is an interval."""
    if interval is None:
        return []
    return [
        {
            "data": {"values": [{"value": interval[0], "to": interval[1]}]},
            "mark": {"type": "rect", "color": "var(--band)", "aria": False},
            "encoding": {"y": y, "y2": {"field": "to"}},
        }
    ]


def _level_layer(level: Level, y: dict[str, Any], unit: str) -> dict[str, Any]:
    """A dashed line across the chart."""
    says = f"{level.name}: {level.value:.4f} {unit}"
    return {
        "data": {"values": [{"value": level.value, "says": says}]},
        "mark": {"type": "rule", "color": level.colour, "strokeWidth": 2, "strokeDash": [6, 3]},
        "encoding": {"y": y, "description": {"field": "says"}},
    }


def _stored_ticks(stored: Sequence[Sequence[float]], y: dict[str, Any], unit: str) -> dict[str, Any]:
    """The rounds of stored sessions, a column of ticks per session."""
    ticks = [
        {"at": number, "value": value, "says": f"stored session {number}: {value:.4f} {unit}"}
        for number, session in enumerate(stored, 1)
        for value in session
    ]
    x = {"field": "at", "type": "ordinal", "title": "stored", "axis": {"labels": len(stored) < 6, "labelAngle": 0}}
    return {
        "data": {"values": ticks[-MOST_MARKS:]},
        "mark": {"type": "tick", "color": "var(--quiet)"},
        "encoding": {"x": x, "y": y, "description": {"field": "says"}},
    }


def history_chart(title: str, unit: str, points: Sequence[tuple[str, str, float, float]], now: float | None) -> Chart:
    """A metric over the sessions of a baseline with its levels, and this run's value.

    Args:
        title: the title of the chart.
        unit: the unit of the values.
        points: date, commit, value and level of each session, oldest first.
        now: the value of this run; None: undefined.
    """
    x = {"field": "at", "type": "quantitative", "title": "session", "axis": {"tickMinStep": 1, "format": "d"}}
    x["scale"] = {"zero": False, "nice": False, "padding": 12}
    y = {"field": "value", "type": "quantitative", "title": unit, "scale": {"zero": False, "nice": True}}
    values = [
        {"at": number, "value": value, "says": f"session of {date} ({commit}): {value:.4f} {unit}"}
        for number, (date, commit, value, _) in enumerate(points, 1)
    ]
    levels = [{"at": number, "value": level} for number, (_, _, _, level) in enumerate(points, 1)]
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": levels},
            "mark": {"type": "line", "color": "var(--quiet)", "strokeWidth": 2, "aria": False},
            "encoding": {"x": x, "y": y},
        },
        line_or_points(values, x, y),
    ]
    rows: list[tuple[str | float, ...]] = list(points)
    if now is not None:
        this = {"at": len(points) + 1, "value": now, "says": f"this run: {now:.4f} {unit}"}
        mark = {"type": "point", "shape": "diamond", "filled": True, "size": 120, "color": "var(--two)", "opacity": 1}
        encoding = {"x": x, "y": y, "description": {"field": "says"}}
        layers.append({"data": {"values": [this]}, "mark": mark, "encoding": encoding})
        rows.append(("this run", "", now, ""))
    return drawn(
        {"layer": layers},
        title=title,
        note="grey: the level, with significant changes only; diamond: this run",
        header=("session", "commit", unit, f"level, {unit}"),
        rows=rows,
    )
