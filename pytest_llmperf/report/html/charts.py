"""The charts of a measurement as SVG: Vega-Lite specifications of its numbers, drawn wide and narrow.

Colours are variables of the page's style sheet, so that one drawing serves light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import vl_convert
from markupsafe import Markup

_WIDTHS = {"wide": 800, "narrow": 250}
_LEAST_WIDE = 500
"""A drawing from here on has room for a legend in one row."""

_MOST_MARKS = 120
"""More points than these are drawn as a line only; the table behind the chart holds every one."""

_MOST_STEPS = 100
"""Steps of a distribution's line, at most."""

_LEAST_PP = 0.05
"""Shares that read 0.0 are not drawn."""

_SERIES = ("var(--one)", "var(--two)", "var(--three)", "var(--four)", "var(--five)", "var(--six)")
_COLOURS = {"var(--bad)": "red", "var(--quiet)": "grey"}
_AXIS = {
    "labelColor": "var(--ink)",
    "titleColor": "var(--ink)",
    "domainColor": "var(--quiet)",
    "tickColor": "var(--quiet)",
    "gridColor": "var(--line)",
    "titleFontWeight": "normal",
    "labelFlush": False,
    "labelSeparation": 8,
}
_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "padding": {"left": 18, "top": 5, "right": 14, "bottom": 5},  # a browser's letters are wider than the drawer's
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": _AXIS | {"labelFontSize": 12, "titleFontSize": 12},
    "legend": {"labelColor": "var(--ink)", "titleColor": "var(--ink)", "labelFontSize": 12, "columnPadding": 20},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawing and the numbers in it.

    Attributes:
        title: what it shows.
        note: how to read it.
        wide, narrow: SVG, for screens of either kind.
        header, rows: the table behind it.
    """

    title: str
    note: str
    wide: Markup
    narrow: Markup
    header: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A horizontal line of a chart of rounds, at `value`; `colour` is one of those that have a name here."""

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
    """A metric round by round, beside the stored rounds that it was judged by.

    Args:
        title: of the chart.
        unit: of the values.
        values: by the number of the round, from 1.
        levels: limits and centres to draw across.
        interval: of the centre.
        stored: values of stored sessions, if any.
    """
    points = [
        {"at": number, "value": value, "says": f"round {number}: {value:.4f} {unit}"}
        for number, value in values.items()
    ]
    y = {"field": "value", "type": "quantitative", "title": unit, "scale": {"zero": False, "nice": True, "padding": 8}}
    layers: list[dict[str, Any]] = []
    if interval is not None:
        layers.append(
            {
                "data": {"values": [{"value": interval[0], "to": interval[1]}]},
                "mark": {"type": "rect", "color": "var(--band)", "aria": False},
                "encoding": {"y": y, "y2": {"field": "to"}},
            }
        )
    for level in levels:
        says = f"{level.name}: {level.value:.4f} {unit}"
        layers.append(
            {
                "data": {"values": [{"value": level.value, "says": says}]},
                "mark": {"type": "rule", "color": level.colour, "strokeWidth": 2, "strokeDash": [6, 3]},
                "encoding": {"y": y, "description": {"field": "says"}},
            }
        )
    x: dict[str, Any] = {
        "field": "at",
        "type": "quantitative",
        "title": "round",
        "axis": {"tickMinStep": 1, "format": "d"},
    }
    x["scale"] = {"zero": False, "nice": False, "padding": 12}
    layers.append(_line_or_points(points, x, y))
    spec: dict[str, Any] = {"layer": layers}
    if stored:
        says = f"stored session {{}}: {{:.4f}} {unit}"
        past = [
            {"at": number, "value": value, "says": says.format(number, value)}
            for number, session in enumerate(stored, 1)
            for value in session
        ]
        ticks = {
            "width": 60,
            "data": {"values": past[-_MOST_MARKS:]},
            "mark": {"type": "tick", "color": "var(--quiet)"},
            "encoding": {
                "x": {
                    "field": "at",
                    "type": "ordinal",
                    "title": "stored",
                    "axis": {"labels": len(stored) < 6, "labelAngle": 0},
                },
                "y": y,
                "description": {"field": "says"},
            },
        }
        spec = {"hconcat": [ticks, {"width": -100, **spec}], "resolve": {"scale": {"y": "shared"}}}
    words = "; ".join(f"dashed, {_COLOURS[level.colour]}: {level.name}" for level in levels)
    band = "shaded: the interval of the centre" if interval is not None else ""
    rows: list[tuple[str | float, ...]] = [("this run", number, value) for number, value in values.items()]
    rows = [("stored", number, value) for number, session in enumerate(stored, 1) for value in session] + rows
    return _drawn(
        spec,
        title=title,
        note="; ".join(filter(None, (words, band, "left: rounds of stored sessions" if stored else ""))),
        header=("of", "round or session", unit),
        rows=rows,
    )


def history_chart(title: str, unit: str, points: Sequence[tuple[str, str, float, float]], now: float | None) -> Chart:
    """A metric over the sessions of a baseline, with its levels, and this run's beside them.

    Args:
        title: of the chart.
        unit: of the values.
        points: date, commit, value and level of each session, oldest first.
        now: the value of this run; None: it has none.
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
        _line_or_points(values, x, y),
    ]
    rows: list[tuple[str | float, ...]] = list(points)
    if now is not None:
        this = {"at": len(points) + 1, "value": now, "says": f"this run: {now:.4f} {unit}"}
        mark = {"type": "point", "shape": "diamond", "filled": True, "size": 120, "color": "var(--two)", "opacity": 1}
        encoding = {"x": x, "y": y, "description": {"field": "says"}}
        layers.append({"data": {"values": [this]}, "mark": mark, "encoding": encoding})
        rows.append(("this run", "", now, ""))
    return _drawn(
        {"layer": layers},
        title=title,
        note="grey: the level, as far as a change of it is beyond doubt; diamond: this run",
        header=("session", "commit", unit, f"level, {unit}"),
        rows=rows,
    )


def distribution_chart(title: str, unit: str, series: Mapping[tuple[str, str], Sequence[float]], note: str) -> Chart:
    """How large a share of the values is at most so large, a line for each agent and part.

    Args:
        title: of the chart.
        unit: of the values.
        series: values by agent and part (`alone`, `together`).
        note: how to read it.
    """
    steps = [
        {"agent": agent, "part": part, "value": value, "share": share}
        for (agent, part), values in series.items()
        for value, share in _shares(sorted(values))
    ]
    agents = list(dict.fromkeys(agent for agent, _ in series))
    spec = {
        "data": {"values": steps},
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
        "encoding": {
            "x": {"field": "value", "type": "quantitative", "title": unit},
            "y": {"field": "share", "type": "quantitative", "title": "share", "axis": {"format": "%"}},
            "color": {
                "field": "agent",
                "type": "nominal",
                "sort": None,
                "scale": {"domain": agents, "range": [_SERIES[i % len(_SERIES)] for i in range(len(agents))]},
                "legend": {"orient": "top", "title": None},
            },
            "strokeDash": {
                "field": "part",
                "type": "nominal",
                "scale": {"domain": ["together", "alone"], "range": [[1, 0], [4, 3]]},
                "legend": {"orient": "top", "title": None},
            },
        },
    }
    rows: list[tuple[str | float, ...]] = [
        (agent, part, len(values), *(_quantile(sorted(values), share) for share in (0, 0.5, 0.95, 1)))
        for (agent, part), values in series.items()
    ]
    header = ("agent", "part", "values", *(f"{name}, {unit}" for name in ("least", "median", "95 %", "most")))
    return _drawn(spec, title=title, note=note, header=header, rows=rows)


def lines_chart(title: str, unit: str, series: Mapping[str, Sequence[tuple[float, float]]], note: str) -> Chart:
    """Values over time, a line for each name.

    Args:
        title: of the chart.
        unit: of the values.
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
                "scale": {"domain": names, "range": [_SERIES[i % len(_SERIES)] for i in range(len(names))]},
                "legend": {"orient": "top", "title": None},
            },
        },
    }
    rows: list[tuple[str | float, ...]] = []
    for name, values in series.items():
        ordered = sorted(value for _, value in values)
        rows.append((name, len(ordered), ordered[0], _quantile(ordered, 0.5), ordered[-1]))
    header = ("of", "samples", *(f"{word}, {unit}" for word in ("least", "median", "most")))
    return _drawn(spec, title=title, note=note, header=header, rows=rows)


def _largest(values: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """The values, or of neighbours the largest where they are many."""
    size = -(-len(values) // _MOST_MARKS)
    return [max(values[i : i + size], key=lambda point: point[1]) for i in range(0, len(values), size)]


def phases_chart(title: str, phases: Mapping[tuple[str, str], Mapping[str, float]], note: str) -> Chart:
    """Stacked bars of what each agent's time goes to, alone and together.

    Args:
        title: of the chart.
        phases: ms by phase, by agent and part; the phases in one order.
        note: how to read it.
    """
    names = list(next(iter(phases.values())))
    bars = [
        {
            "who": f"{agent} {part}",
            "phase": phase,
            "order": names.index(phase),
            "value": value,
            "says": f"{agent} {part}, {phase}: {value:.4f} ms",
        }
        for (agent, part), durations in phases.items()
        for phase, value in durations.items()
    ]
    spec = {
        "data": {"values": bars},
        "mark": {"type": "bar"},
        "encoding": {
            "y": {"field": "who", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 110}},
            "x": {"field": "value", "type": "quantitative", "title": "ms, mean over rounds"},
            "color": {
                "field": "phase",
                "type": "nominal",
                "sort": None,
                "scale": {"domain": names, "range": [f"var(--{name})" for name in names]},
                "legend": {"orient": "top", "title": None},
            },
            "order": {"field": "order", "type": "quantitative"},
            "description": {"field": "says"},
        },
    }
    rows: list[tuple[str | float, ...]] = [
        (agent, part, *durations.values(), sum(durations.values())) for (agent, part), durations in phases.items()
    ]
    for agent in dict.fromkeys(agent for agent, _ in phases):
        both = [phases.get((agent, part)) for part in ("together", "alone")]
        if both[0] is not None and both[1] is not None:
            lost = [both[0][name] - both[1][name] for name in names]
            rows.append((agent, "together more than alone", *lost, sum(lost)))
    header = ("agent", "part", *(f"{name}, ms" for name in names), "in all, ms")
    return _drawn(spec, title=title, note=note, header=header, rows=rows)


def loss_chart(title: str, shares_pp: Mapping[str, float], note: str) -> Chart:
    """Bars of the shares that a loss is made of, the largest first; the table holds the tiny ones, too.

    Args:
        title: of the chart.
        shares_pp: by name, points; negative: gained.
        note: how to read it.
    """
    ordered = sorted(shares_pp.items(), key=lambda item: -item[1])
    bars = [
        {"share": name, "value": pp, "says": f"{name}: {pp:.4f} pp"} for name, pp in ordered if abs(pp) >= _LEAST_PP
    ]
    spec = {
        "data": {"values": bars},
        "mark": {"type": "bar", "color": "var(--one)"},
        "encoding": {
            "y": {"field": "share", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 110}},
            "x": {"field": "value", "type": "quantitative", "title": "points, mean over rounds"},
            "description": {"field": "says"},
        },
    }
    rows: list[tuple[str | float, ...]] = [*ordered, ("in all", sum(shares_pp.values()))]
    return _drawn(spec, title=title, note=note, header=("share", "pp"), rows=rows)


def _line_or_points(points: list[dict[str, Any]], x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    """Points while they can be told apart, else their line."""
    few = len(points) <= _MOST_MARKS
    mark = {"type": "point", "filled": True, "size": 60} if few else {"type": "line", "strokeWidth": 1}
    description = {"description": {"field": "says"}} if few else {}
    return {
        "data": {"values": points},
        "mark": {**mark, "color": "var(--one)", "opacity": 1},
        "encoding": {"x": x, "y": y, **description},
    }


def _shares(ordered: Sequence[float]) -> list[tuple[float, float]]:
    """Corners of the line of a distribution, thinned where they are many."""
    count = len(ordered)
    places = range(count) if count <= _MOST_STEPS else [round(i * (count - 1) / _MOST_STEPS) for i in range(101)]
    return [(ordered[0], 0.0), *((ordered[place], (place + 1) / count) for place in places)]


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Between neighbours in a straight line, as `judge.stats` has it."""
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def _drawn(
    spec: dict[str, Any], *, title: str, note: str, header: tuple[str, ...], rows: Sequence[tuple[str | float, ...]]
) -> Chart:
    drawings = {name: Markup(_svg(spec, width, title)) for name, width in _WIDTHS.items()}  # Vega escapes
    return Chart(title=title, note=note, header=header, rows=tuple(rows), **drawings)


def _svg(spec: dict[str, Any], width: int, title: str) -> str:
    """One drawing; a part of a spec whose width is negative takes what is left of the whole."""
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": title,
        "config": _CONFIG | {"legend": {**_CONFIG["legend"], "columns": 0 if width >= _LEAST_WIDE else 2}},
        **spec,
    }
    if parts := spec.get("hconcat"):
        spec["hconcat"] = [
            {"height": 160, **part, "width": part["width"] if part["width"] > 0 else width + part["width"]}
            for part in parts
        ]
    else:
        spec |= {"width": width, "height": 160}
    return vl_convert.vegalite_to_svg(spec)
