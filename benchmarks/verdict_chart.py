"""The operating characteristics of verdicts: how often they fail, pass or stay inconclusive, by what is truly lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import vl_convert

_STORED = "against stored sessions, tau {:g}"
PANELS = {
    **{("stored", tau): _STORED.format(tau) for tau in (0.0, 0.6, 1.2)},
    ("paired", 0.0): "by turns",
    ("limit", 0.0): "limit gate",
}
"""The columns of the chart, by rule and spread between sessions."""
OUTCOMES = ("fail", "pass", "inconclusive")
FEWEST = 4


class Cell(Protocol):
    """What is needed of a simulated situation."""

    rule: str
    noise: str
    sessions: int
    tau: float
    drop: float


class Result(Protocol):
    """What is needed of its result."""

    passed: float
    failed: float
    open: float


def charted(cell: Cell) -> bool:
    """Whether a cell is in the chart: independent normal rounds, and stored sessions enough to know their spread."""
    enough = cell.rule != "stored" or cell.sessions >= FEWEST
    return cell.noise == "normal" and (cell.rule, cell.tau) in PANELS and enough


def points(results: Mapping[Cell, Result]) -> list[dict[str, object]]:
    """One row for each cell and outcome."""
    rows: list[dict[str, object]] = []
    for cell, result in results.items():
        if charted(cell):
            line = f"{cell.sessions} sessions" if cell.rule == "stored" else PANELS[cell.rule, cell.tau]
            panel = PANELS[cell.rule, cell.tau]
            shares = zip(OUTCOMES, (result.failed, result.passed, result.open), strict=True)
            rows += [
                {"panel": panel, "line": line, "lost": cell.drop, "outcome": outcome, "share": share}
                for outcome, share in shares
            ]
    return rows


def draw(results: Mapping[Cell, Result], path: Path, subtitle: str) -> None:
    """Draw the chart as SVG.

    Args:
        results: by cell; those that are not charted are left out.
        path: to write.
        subtitle: under what conditions.
    """
    specification = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": {"text": "How often a gate fails, passes or stays inconclusive", "subtitle": subtitle},
        "data": {"values": points(results)},
        "facet": {
            "row": {"field": "outcome", "sort": list(OUTCOMES), "title": None},
            "column": {"field": "panel", "sort": list(PANELS.values()), "title": None},
        },
        "spec": {
            "width": 170,
            "height": 110,
            "mark": {"type": "line", "point": True},
            "encoding": {
                "x": {"field": "lost", "type": "quantitative", "title": "truly lost, points"},
                "y": {"field": "share", "type": "quantitative", "title": "% of runs", "scale": {"domain": [0, 100]}},
                "color": {
                    "field": "line",
                    "title": None,
                    "sort": ["4 sessions", "8 sessions", "20 sessions"],
                    "scale": {"scheme": "category10"},
                },
            },
        },
        "resolve": {"scale": {"x": "independent"}},
        "background": "white",
    }
    path.write_text(vl_convert.vegalite_to_svg(specification) + "\n", encoding="utf-8")
