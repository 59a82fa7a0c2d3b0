"""The files of a scaling curve: CSV, and the chart as SVG, PNG and HTML if the extra `report` is installed."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.files.atomic_write import advice, replacement_of
from pytest_llmperf.study.scaling.scaling_curve import Curve, curve_lines, curves_as_csv

_COLOUR = {
    **{"field": "curve", "type": "nominal", "title": None, "scale": {"scheme": "tableau10"}},
    "legend": {"symbolOpacity": 1},
}
_SCALE = 2.0


def write_curves(curves: Sequence[Curve], folder: Path, name: str, title: str) -> tuple[Path, ...]:
    """Writes `NAME.scaling.csv`, and with the extra `report` also `.svg`, `.png` and `.html`.

    Args:
        curves: one or more.
        folder: of the results.
        name: of the experiment.
        title: of the chart.

    Raises:
        LlmperfError: a file cannot be written.
    """
    contents = {"csv": curves_as_csv(curves).encode()}
    if find_spec("vl_convert") is not None:
        import vl_convert  # noqa: PLC0415 - of the extra

        chart = chart_of(curves, title)
        svg = vl_convert.vegalite_to_svg(chart)
        contents |= {
            "svg": svg.encode(),
            "png": vl_convert.vegalite_to_png(chart, scale=_SCALE),
            "html": _page(curves, svg, title).encode(),
        }
    paths = {folder / f"{name}.scaling.{ending}": content for ending, content in contents.items()}
    for path, content in paths.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacement_of(path) as out:
                out.write(content)
        except OSError as error:
            next_step = advice(error, "choose another folder for results")
            raise LlmperfError(f"cannot write {path}: {error}", next_step=next_step) from error
    return tuple(paths)


def chart_of(curves: Sequence[Curve], title: str) -> dict[str, Any]:
    """A Vega-Lite specification: medians with the range of rounds, the law, and its 95 % band."""
    points: list[dict[str, Any]] = [
        {"curve": size.curve, "agents": size.agents, "rate": size.system_tok_s}
        | {"low": size.low_tok_s, "high": size.high_tok_s}
        for curve in curves
        for size in curve.sizes
    ]
    fits = [
        {"curve": curve.name, "agents": point.agents, "rate": point.fitted, "low": point.low, "high": point.high}
        for curve in curves
        if curve.law is not None and curve.law.misfit is None
        for point in curve.law.curve
    ]
    sizes = sorted({point["agents"] for point in points})
    agents = {"field": "agents", "type": "quantitative", "title": "agents", "axis": {"values": sizes, "format": "d"}}
    rate = {"field": "rate", "type": "quantitative", "title": "system tok/s"}
    ends = {"y": {**rate, "field": "low"}, "y2": {"field": "high"}}
    layers = [
        (fits, {"type": "area", "opacity": 0.2}, ends),
        (fits, {"type": "line"}, {"y": rate}),
        (points, {"type": "rule"}, ends),
        (points, {"type": "point", "filled": True, "size": 50}, {"y": rate}),
    ]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": {"text": title, "subtitle": "medians and range of rounds; lines: fitted law with its 95 % band"},
        "background": "white",
        "width": 520,
        "height": 300,
        "layer": [
            {"data": {"values": values}, "mark": mark, "encoding": {"x": agents, "color": _COLOUR, **encoding}}
            for values, mark, encoding in layers
            if values
        ],
    }


def _page(curves: Sequence[Curve], svg: str, title: str) -> str:
    """A page without scripts: the chart and the tables."""
    table = html.escape("\n".join(curve_lines(curves)))
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<h1>{html.escape(title)}</h1>\n{svg}\n<pre>{table}</pre>\n</html>\n"
    )
