"""The history of a baseline's sessions: what changed, when, between which commits, and whether something was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.baselines.comparability import is_like
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.compared_metrics import compared_in
from pytest_llmperf.judge.metrics.catalogue import Metric, metric_of
from pytest_llmperf.judge.regression.effect_scale import PERCENT_OF_ZERO
from pytest_llmperf.judge.stats.changepoints import FEWEST, Break, breaks, levels
from pytest_llmperf.judge.stats.resolution import step_of
from pytest_llmperf.judge.stats.summary import aggregate_values
from pytest_llmperf.model import Baseline, Bound, Stored, StoredSession

ERROR = 0.01
"""How often a whole baseline in which nothing changed may be said to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A metric in one session.

    Attributes:
        saved_at: when the session was saved, ISO 8601.
        commit: git commit, with a star if files were changed; empty if unknown.
        value: the session's centre, in the metric's unit.
    """

    saved_at: str
    commit: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """One metric of one measurement over the sessions.

    Attributes:
        key: the key of the measurement.
        metric: the metric's entry in the catalogue.
        points: one point for each session that is comparable with the newest session, oldest first.
        left_out: the sessions that are not comparable or lack the metric.
        levels: the level at each point: constant between breaks; the mean of all points if there is no break.
        breaks: the changes of level, oldest first; their indices refer to `points`.
        lost: how much worse the newest level is than the best earlier level, in points or percent; 0: not worse.
        matters: the smallest loss that counts.
    """

    key: Key
    metric: str
    points: tuple[Point, ...]
    left_out: int
    levels: tuple[float, ...]
    breaks: tuple[Break, ...]
    lost: float
    matters: float

    @property
    def enough(self) -> bool:
        """Whether there are sessions enough to see a change."""
        return len(self.points) >= FEWEST

    @property
    def worse(self) -> bool:
        """Whether a loss that counts is still there."""
        return self.lost >= self.matters


def trends(baseline: Baseline, metrics: Sequence[str] = (), delta: float | None = None) -> tuple[Trend, ...]:
    """Every metric of every measurement that a baseline holds sessions of.

    Args:
        baseline: the baseline with the sessions.
        metrics: names in the catalogue; none: those that are compared.
        delta: the smallest loss that counts, in points of percentages, else percent; None: each metric's own.
    """
    trends = [
        (entry, metric, points)
        for entry in baseline.stored
        for metric in metrics or compared_in(entry)
        if (points := _points(entry, metric_of(metric)))
    ]
    looked_at = sum(len(points) >= FEWEST for _, _, points in trends)
    return tuple(
        _trend(entry, metric_of(metric), points, ERROR / max(looked_at, 1), delta) for entry, metric, points in trends
    )


def worse_by(metric: Metric, before: float, after: float) -> float:
    """How much worse, in points or percent of what was before; negative: better."""
    change = before - after if metric.good is Bound.MIN else after - before
    if metric.in_points:
        return change
    return 100 * change / abs(before) if before else 0.0


def loss(metric: Metric, before: float, after: float) -> float:
    """As `worse_by`; of what was 0, percent of PERCENT_OF_ZERO."""
    if before or metric.in_points:
        return worse_by(metric, before, after)
    return worse_by(metric, PERCENT_OF_ZERO, PERCENT_OF_ZERO + after)


def _trend(entry: Stored, metric: Metric, points: tuple[Point, ...], error: float, delta: float | None) -> Trend:
    values = [point.value for point in points]
    rounds = [value for session in entry.session for value in session.rounds.get(metric.name, ())]
    changes = breaks(values, error, step=step_of(rounds))
    fitted = levels(values, changes)
    return Trend(
        key=Key.of(entry),
        metric=metric.name,
        points=points,
        left_out=len(entry.session) - len(points),
        levels=fitted,
        breaks=changes,
        lost=max(loss(metric, level, fitted[-1]) for level in fitted),
        matters=metric.delta if delta is None else delta,
    )


def _points(entry: Stored, metric: Metric) -> tuple[Point, ...]:
    """The sessions that may be compared with the newest that has the metric."""
    holding = [session for session in entry.session if session.rounds.get(metric.name)]
    return tuple(
        Point(saved_at=session.saved_at, commit=commit_of(session.manifest), value=value)
        for session in holding
        if is_like(session, holding[-1].manifest, metric.name) and (value := _centre(metric, session)) is not None
    )


def _centre(metric: Metric, session: StoredSession) -> float | None:
    try:
        return aggregate_values(metric.aggregate, session.rounds[metric.name])
    except MeasurementError:
        return None


def commit_of(manifest: Mapping[str, str]) -> str:
    """The short commit, with a star if files were changed; empty if not known."""
    return manifest.get("git_commit", "")[:9] + ("*" if manifest.get("git_dirty") == "yes" else "")
