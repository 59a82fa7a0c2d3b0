"""The outlying stored session of a measurement, if there is one.

Each session's centre is compared with the centres of all other sessions (leave one out), on the loss scale of the
metric. If all sessions are alike, the distance in standard deviations of the other sessions has Student's t
distribution with (sessions - 2) degrees of freedom. The most distant session is reported if the probability of such a t
is at most ERROR, divided by the number of sessions (which makes this Grubbs' test, 1969) and by the number of metrics
of the measurement, and if the distance is at least delta: a smaller distance cannot change a verdict. The plugin never
removes a session from a baseline by itself; people decide what disturbed it.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.baselines.comparability import is_like
from pytest_llmperf.judge.gate_kinds import COMPARED_METRICS
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.regression.effect_scale import scale_of
from pytest_llmperf.judge.stats.distributions import t_quantile
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.row_statistics import row_means, row_variances
from pytest_llmperf.judge.stats.summary import aggregate_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.stats.row_statistics import Array
    from pytest_llmperf.model import Stored, StoredSession

ERROR = 0.02
"""How often a healthy history of a measurement names a session, at most, over all its metrics."""

FEWEST = 5
"""The least number of sessions of which one can be called outlying."""

FOLDER = "baselines"
"""Where the command looks baselines up by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlying:
    """A stored session that is far from the others.

    Attributes:
        test: node id.
        saved_at: the session's time, by which `remove --session` finds it.
        metric: the metric's name in the catalogue.
        value: the session's centre, in the metric's unit.
        others: the mean of the other sessions' centres.
        count: how many others there are.
    """

    test: str
    saved_at: str
    metric: str
    value: float
    others: float
    count: int

    def advice(self, baseline: str, folder: str = FOLDER) -> str:
        """What is outlying, and the command that removes it.

        Args:
            baseline: name or file of the baseline.
            folder: where names are looked up.
        """
        metric = metric_of(self.metric)
        values = f"{self.metric} {self.value:.4g}, mean of the {self.count} others {self.others:.4g} {metric.unit}"
        where = () if folder == FOLDER or baseline.endswith(".toml") else ("--dir", folder)
        words = ("pytest-llmperf", "remove", baseline, self.test, "--session", self.saved_at, *where)
        return (
            f"the stored session of {self.saved_at} is far from the others ({values}); "
            f"if something disturbed it, remove it: {shlex.join(words)}"
        )


def outlying_session(entry: Stored, metrics: Sequence[str] = COMPARED_METRICS) -> Outlying | None:
    """The outlying session of a measurement, by the first metric that shows one.

    Args:
        entry: the measurement.
        metrics: means or medians in the catalogue; those that a session lacks are not examined.
    """
    held = [name for name in metrics if all(session.rounds.get(name) for session in entry.session)]
    for name in held:
        alike = [session for session in entry.session if is_like(session, entry.session[-1].manifest, name)]
        if (outlying := _outlying(entry.test, name, alike, ERROR / len(held))) is not None:
            return outlying
    return None


def outlying_index(centres: Array, error: float, least: float) -> Array:
    """The index of the outlying centre in each row, shape (..., sessions); -1: none.

    Args:
        centres: centres on a scale of differences, FEWEST or more in each row.
        error: how often a row of like centres names one, at most.
        least: a smaller distance from the others is not named.
    """
    count = centres.shape[-1]
    middle, variance = row_means(centres)[..., None], row_variances(centres)[..., None]
    residuals = centres - middle
    distance = residuals * count / (count - 1)  # from the mean of the others
    squares = (count - 1) * variance - residuals * distance  # of the other centres about their own mean
    critical = t_quantile(1 - error / (2 * count), count - 2)
    width = critical * np.sqrt(np.maximum(squares, 0.0) / (count - 2) * count / (count - 1))
    most = np.abs(distance).argmax(axis=-1)[..., None]
    named = np.abs(distance) > np.maximum(width, least)
    return np.where(np.take_along_axis(named, most, axis=-1), most, -1)[..., 0]


def _outlying(test: str, name: str, sessions: Sequence[StoredSession], error: float) -> Outlying | None:
    if len(sessions) < FEWEST:
        return None
    try:
        metric = metric_of(name)
        centres = [aggregate_values(metric.aggregate, session.rounds[name]) for session in sessions]
        base = math.fsum(centres) / len(centres)
        scale = scale_of(
            bound=metric.good, base=None if metric.in_points else base, delta=metric.delta, least=min(centres)
        )
    except MeasurementError:
        return None
    index = int(outlying_index(scale.to_loss(centres), error, abs(scale.shift(metric.delta))))
    if index < 0:
        return None
    others = [centre for place, centre in enumerate(centres) if place != index]
    return Outlying(
        test=test,
        saved_at=sessions[index].saved_at,
        metric=name,
        value=centres[index],
        others=math.fsum(others) / len(others),
        count=len(others),
    )
