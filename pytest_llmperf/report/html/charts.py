"""The charts of the HTML report as SVG: Vega-Lite specifications, each drawn in a wide and a narrow version.

Colours are variables of the page's style sheet, so that one drawing serves the light and the dark theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import vl_convert
from markupsafe import Markup

_WIDTHS = {"wide": 800, "narrow": 250}
_LEAST_WIDE = 500
"""From this width on a legend fits in one row."""

MOST_MARKS = 120
"""More points are drawn as a line only; the table below the chart has all of them."""

_SERIES = ("var(--one)", "var(--two)", "var(--three)", "var(--four)", "var(--five)", "var(--six)")
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
        title: what the chart shows.
        note: how to read it.
        wide, narrow: SVG for wide and narrow screens.
        header, rows: the table of its numbers.
    """

    title: str
    note: str
    wide: Markup
    narrow: Markup
    header: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]


def line_or_points(points: list[dict[str, Any]], x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    """Points if they are few, else a line."""
    few = len(points) <= MOST_MARKS
    mark = {"type": "point", "filled": True, "size": 60} if few else {"type": "line", "strokeWidth": 1}
    description = {"description": {"field": "says"}} if few else {}
    return {
        "data": {"values": points},
        "mark": {**mark, "color": "var(--one)", "opacity": 1},
        "encoding": {"x": x, "y": y, **description},
    }


def colour_scale(names: Sequence[str]) -> dict[str, Any]:
    """A colour per name."""
    return {"domain": list(names), "range": [_SERIES[index % len(_SERIES)] for index in range(len(names))]}


def quantile(ordered: Sequence[float], share: float) -> float:
    """A quantile with linear interpolation, as in `judge.stats`."""
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def drawn(
    spec: dict[str, Any], *, title: str, note: str, header: tuple[str, ...], rows: Sequence[tuple[str | float, ...]]
) -> Chart:
    """A specification drawn in both widths, with the table of its numbers."""
    drawings = {name: Markup(_svg(spec, width, title)) for name, width in _WIDTHS.items()}  # Vega escapes
    return Chart(title=title, note=note, header=header, rows=tuple(rows), **drawings)


def _svg(spec: dict[str, Any], width: int, title: str) -> str:
    """A drawing as SVG; a part with a negative width is narrower than the whole by that much."""
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
