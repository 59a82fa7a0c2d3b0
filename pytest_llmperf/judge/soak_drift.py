"""Changes for the worse during a long run: metrics that drift, memory that leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.baselines.trend import loss
from pytest_llmperf.judge.compared_metrics import compared_of
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.judge.soak import MEMORY, Drift
from pytest_llmperf.judge.stats.changepoints import FEWEST, breaks, levels
from pytest_llmperf.judge.stats.resolution import step_of
from pytest_llmperf.judge.stats.summary import aggregate_values
from pytest_llmperf.model import Measurement

_BLOCKS, _ERROR = 24, 0.01
_SETTLING = 0.2
"""Share of a run in which memory may grow without being a leak: caches fill."""

LEAK_SHARE, LEAK_MIB = 0.05, 16.0
"""Growth beyond both is a leak."""


def drifts(measurement: Measurement) -> tuple[Drift, ...]:
    """Metrics whose level is significantly worse at the end than before, by the metric's delta or more.

    Args:
        measurement: the whole run; its rounds are grouped in blocks of neighbours, whose centres are compared.
    """
    size = max(FEWEST, len(measurement.rounds) // _BLOCKS)
    drifted = []
    names = compared_of(measurement.scenario)
    for name in names:
        metric = metric_of(name)
        try:
            values = series(measurement, name)
        except MeasurementError:
            continue
        starts = range(0, len(values) - size + 1, size)
        centres = [aggregate_values(metric.aggregate, values[start : start + size]) for start in starts]
        fitted = levels(centres, breaks(centres, _ERROR / len(names), step=step_of(values))) if centres else ()
        lost, before = max(((loss(metric, level, fitted[-1]), level) for level in fitted), default=(0.0, 0.0))
        if lost >= metric.delta:
            drifted.append(Drift(name=name, before=before, after=fitted[-1], lost=lost, matters=metric.delta))
    return tuple(drifted)


def leaks(samples: Sequence[Mapping[str, float]]) -> tuple[Drift, ...]:
    """Processes whose memory grew significantly after the first fifth of the run, by more than 5 % and 16 MiB.

    Args:
        samples: MiB by name, at equal distances, oldest first.
    """
    settled = samples[round(len(samples) * _SETTLING) :]
    leaking = []
    for name in dict.fromkeys(key for sample in settled for key in sample):
        values = [sample[name] for sample in settled if name in sample]
        if len(values) < FEWEST:
            continue
        fitted = levels(values, breaks(values, _ERROR, step=step_of(values)))
        grown, matters = fitted[-1] - fitted[0], max(LEAK_SHARE * fitted[0], LEAK_MIB)
        if grown > matters:
            leaking.append(
                Drift(name=f"{MEMORY}{name}", before=fitted[0], after=fitted[-1], lost=grown, matters=matters)
            )
    return tuple(leaking)
