"""Charts of distributions, phases and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_llmperf.report.html.charts import Chart, colour_scale, drawn, quantile

_MOST_STEPS = 100
"""Maximum number of steps of a distribution's line."""

_LEAST_PP = 0.05
"""Shares that would read 0.0 are not drawn."""


def distribution_chart(title: str, unit: str, series: Mapping[tuple[str, str], Sequence[float]], note: str) -> Chart:
    """Cumulative distributions, a line per agent and part.

    Args:
        title: the title of the chart.
        unit: the unit of the values.
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
                "scale": colour_scale(agents),
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
        (agent, part, len(values), *(quantile(sorted(values), share) for share in (0, 0.5, 0.95, 1)))
        for (agent, part), values in series.items()
    ]
    header = ("agent", "part", "values", *(f"{name}, {unit}" for name in ("minimum", "median", "95 %", "maximum")))
    return drawn(spec, title=title, note=note, header=header, rows=rows)


def phases_chart(title: str, phases: Mapping[tuple[str, str], Mapping[str, float]], note: str) -> Chart:
    """Stacked bars of each agent's phases, alone and together.

    Args:
        title: the title of the chart.
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
            rows.append((agent, "together minus alone", *lost, sum(lost)))
    header = ("agent", "part", *(f"{name}, ms" for name in names), "total, ms")
    return drawn(spec, title=title, note=note, header=header, rows=rows)


def loss_chart(title: str, shares_pp: Mapping[str, float], note: str) -> Chart:
    """Bars of the shares of a loss, the largest first; the table has the small ones, too.

    Args:
        title: the title of the chart.
        shares_pp: the shares by name, percentage points; negative: a gain.
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
            "x": {"field": "value", "type": "quantitative", "title": "pp, mean over rounds"},
            "description": {"field": "says"},
        },
    }
    rows: list[tuple[str | float, ...]] = [*ordered, ("total", sum(shares_pp.values()))]
    return drawn(spec, title=title, note=note, header=("share", "pp"), rows=rows)


def _shares(ordered: Sequence[float]) -> list[tuple[float, float]]:
    """The corners of a distribution's line, thinned if there are many."""
    count = len(ordered)
    places = range(count) if count <= _MOST_STEPS else [round(i * (count - 1) / _MOST_STEPS) for i in range(101)]
    return [(ordered[0], 0.0), *((ordered[place], (place + 1) / count) for place in places)]
