"""Gates against an incumbent that takes turns with the candidate, and their verdicts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.baselines.manifest_diff import differences_of
from pytest_llmperf.judge.clock_bounds import clock_error, with_clock_error
from pytest_llmperf.judge.gate_kinds import COMPARED_METRICS
from pytest_llmperf.judge.gates.evaluate import invalid, judge_values
from pytest_llmperf.judge.gates.target import named_metrics, option_limit
from pytest_llmperf.judge.markers import build
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.judge.record import Incumbent
from pytest_llmperf.judge.stats.summary import aggregate_values
from pytest_llmperf.model import Gate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.markers import Marker
    from pytest_llmperf.model import Measurement, Settings, Verdict

MARKER = "against"
"""The name of these gates in reports, whether a `regression` marker or `--llmperf-against` itself asks for them."""


def against_gates(
    specs: Sequence[Marker], *, name: str, settings: Settings, compared: tuple[str, ...] = COMPARED_METRICS
) -> tuple[Gate, ...]:
    """One gate per metric: the metrics of the test's `regression` marker, else the default ones.

    Both arms are measured here and now, so that tok/s and ms can be compared like ratios.

    Args:
        specs: the test's markers.
        name: the name of the incumbent.
        settings: the settings, with the limit of `regression` if there is one.
        compared: the default metrics, see `compared_metrics`.

    Returns:
        Gates whose limit is not known yet: it is the incumbent's aggregate, see `judge_against`.

    Raises:
        UsageError: a setting that the marker would refuse.
    """
    marked = [spec for spec in specs if spec.compares]
    bare = option_limit("regression", settings)
    gates = []
    for spec in marked or [build("regression")]:
        for metric in map(metric_of, named_metrics(spec, compared)):
            delta = next((value for value in (spec["delta"], bare, metric.delta) if value is not None), None)
            gates.append(
                Gate(
                    marker=MARKER,
                    metric=metric.name,
                    bound=metric.good,
                    limit=0.0,
                    source=f"incumbent {name}",
                    delta=delta,
                    demanded=bool(marked),
                    incumbent=name,
                )
            )
    return tuple(gates)


def incumbent_of(name: str, incumbent: Measurement, candidate: Measurement) -> Incumbent:
    """The incumbent as a record holds it, with what is not as it is on the candidate's side."""
    old, new = incumbent.manifest.facts, candidate.manifest.facts
    return Incumbent(name=name, measurement=incumbent, differences=differences_of(name, old, new, whole=True))


def judge_against(
    gate: Gate, measurement: Measurement, incumbent: Measurement, *, looks: int, last: bool = True, gates: int = 1
) -> Verdict:
    """Judges one of `against_gates` by the pairs of rounds so far; see `judge.gates.evaluate.judge`.

    Args:
        gate: the gate of the incumbent.
        measurement: the candidate's.
        incumbent: a measurement of equal length; each round was run next to the candidate's round of the same index.
        looks: how often the session may look at this gate.
        last: whether no further look follows.
        gates: the number of gates of the run, which share the error of `fail`.

    Returns:
        A verdict whose gate has the incumbent's centre for its limit; `invalid` where the metric is undefined in some
        round of either side.
    """
    rounds = len(measurement.rounds)
    try:
        values = series(measurement, gate.metric)
    except MeasurementError as error:
        return invalid(gate, rounds, str(error.args[0]))
    try:
        old = series(incumbent, gate.metric)
        gate = replace(gate, limit=aggregate_values(metric_of(gate.metric).aggregate, old))
    except MeasurementError as error:
        return invalid(gate, rounds, f"incumbent {gate.incumbent}: {error.args[0]}")
    return with_clock_error(
        lambda possible: judge_values(gate, possible, looks=looks, last=last, gates=gates, incumbent=old),
        gate,
        values,
        max(clock_error(arm, gate.metric) for arm in (measurement, incumbent)),
    )
