"""The history of a baseline in words, and the part of it that belongs to a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import BaselineError
from pytest_llmperf.judge.baselines.baseline_files import load_named
from pytest_llmperf.judge.baselines.lookup import key_of
from pytest_llmperf.judge.baselines.trend import Point, Trend, worse_by
from pytest_llmperf.judge.gates.reasons import change_words
from pytest_llmperf.judge.metrics.series import metric_of
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.stats.changepoints import FEWEST, Break, How
from pytest_llmperf.model import Baseline, Settings
from pytest_llmperf.model.texts import counted
from pytest_llmperf.report.wording.amounts import amount

LOST = "LOST"
"""The word in the line of a metric that is worse than its best level."""


def said(trend: Trend) -> list[str]:
    """A metric's history in lines: each change, then the current state."""
    if not trend.enough:
        return [f"{trend.metric}: {counted(len(trend.points), 'session')}, a change can be detected from {FEWEST} on"]
    lines = [f"{trend.metric}: {_change(trend, shift)}" for shift in trend.breaks]
    if not lines:
        return [f"{trend.metric}: no change over {counted(len(trend.points), 'session')}"]
    unit = metric_of(trend.metric).change_unit
    counts = f"changes of {trend.matters:g} {unit} or more count"
    if trend.worse:
        return [*lines, f"{trend.metric}: {LOST} {trend.lost:.1f} {unit}, not recovered ({counts})"]
    if trend.lost > 0:
        return [*lines, f"{trend.metric}: {trend.lost:.1f} {unit} below its best level ({counts})"]
    return [*lines, f"{trend.metric}: no loss"]


def history_of(record: Record, baseline: str, trends: Sequence[Trend]) -> dict[str, Any] | None:
    """The history of a measurement in a baseline's sessions; None if the baseline has no session of it.

    Args:
        record: the record of the measurement.
        baseline: the baseline's name.
        trends: the trends of that baseline.
    """
    key = key_of(record.test, record.measurement)
    own = [trend for trend in trends if trend.key == key]
    if not own:
        return None
    return {
        "baseline": baseline,
        "trends": [asdict(trend) for trend in own],
        "said": [line for trend in own for line in said(trend)],
    }


def past_of(settings: Settings, root: Path) -> Baseline | None:
    """The baseline that a run is compared with or saved to, as it is before the run; None: there is none yet.

    Args:
        settings: the settings of the run.
        root: folder that relative paths start from.
    """
    name = settings.compare or settings.save or settings.update
    if not name:
        return None
    try:
        return load_named(str(root / name) if name.endswith(".toml") else name, (root / settings.baselines_dir,))
    except BaselineError:  # a first save; a damaged file was refused before the run
        return None


def _change(trend: Trend, shift: Break) -> str:
    metric = metric_of(trend.metric)
    worse = worse_by(metric, shift.before, shift.after)
    size = change_words(worse, metric.change_unit)
    values = f"{amount(shift.before, metric.name)} -> {amount(shift.after, metric.name)}"
    ends = " and ".join(_point(trend.points[at]) for at in (shift.start, shift.end))
    if shift.how is How.STEP:
        return f"{size} in one step, {values}, between {ends}"
    sessions = counted(shift.end - shift.start + 1, "session")
    return f"{size} gradually, {values}, over {sessions} between {ends}"


def _point(point: Point) -> str:
    return f"{point.saved_at[:16].replace('T', ' ')} ({point.commit or 'commit unknown'})"
