"""What a limit gate's evidence was worth: effect size and power."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.autocorrelation import variance_inflation
from pytest_llmperf.judge.stats.confidence_intervals import MEDIAN_FACTOR
from pytest_llmperf.judge.stats.distributions import normal_tail
from pytest_llmperf.judge.stats.resolution import varies
from pytest_llmperf.judge.stats.summary import Aggregate, aggregate_values, sample_sd
from pytest_llmperf.model import Bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.metrics.catalogue import Metric
    from pytest_llmperf.judge.stats.confidence_intervals import Interval
    from pytest_llmperf.model import Gate


def strength(
    metric: Metric, values: Sequence[float], gate: Gate, interval: Interval
) -> tuple[float | None, float | None]:
    """Effect size and power of a limit gate; None for what is no mean or median, or does not scatter.

    The power is that for a true value worse than the limit by the metric's delta, not by what was observed: the power
    for the observed value says nothing that the interval does not (Hoenig and Heisey 2001).

    Args:
        metric: of the gate.
        values: two or more.
        gate: a limit gate.
        interval: the interval that a `fail` needs on the bad side.

    Returns:
        Distance from the limit in standard deviations of a round, negative on the bad side; percent.
    """
    if metric.aggregate not in (Aggregate.MEAN, Aggregate.MEDIAN):
        return None, None
    middle, sd = aggregate_values(metric.aggregate, values), sample_sd(values)
    if not varies(sd, middle):
        return None, None
    sign = 1 if gate.bound is Bound.MIN else -1
    margin = interval.high - middle if gate.bound is Bound.MIN else middle - interval.low
    matter = metric.delta if metric.in_points else metric.delta / 100 * abs(gate.limit)
    wider = MEDIAN_FACTOR if metric.aggregate is Aggregate.MEDIAN else 1.0
    error = wider * sd * math.sqrt(variance_inflation(values) / len(values))
    return sign * (middle - gate.limit) / sd, 100 * float(normal_tail((margin - matter) / error))
