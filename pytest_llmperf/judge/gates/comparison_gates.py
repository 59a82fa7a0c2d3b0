"""Gates that compare a measurement with stored sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.errors import BaselineError, MeasurementError, UsageError
from pytest_llmperf.judge.baselines.comparability import is_like, unlike
from pytest_llmperf.judge.baselines.lookup import entry_of
from pytest_llmperf.judge.gates.target import named_metrics
from pytest_llmperf.judge.metrics.catalogue import MetricClass, metric_of
from pytest_llmperf.judge.stats.summary import Aggregate, reference_centre
from pytest_llmperf.model import Gate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.judge.gates.target import Target
    from pytest_llmperf.judge.markers import Marker
    from pytest_llmperf.model import Baseline, Settings


def comparison_gate(
    metric_name: str, *, marker: str, delta: float | None, stored: Baseline, target: Target, demanded: bool
) -> Gate:
    """A gate against stored sessions; for a machine-bound metric, against the sessions of this machine.

    Args:
        metric_name: a continuous metric.
        marker: the name of the gate.
        delta: smallest change that counts; None: the metric's own.
        stored: the baseline with the sessions.
        target: the measurement that will be compared.
        demanded: whether a marker asks for it.

    Raises:
        UsageError: the metric is unknown, or a rate or a CV.
        BaselineError: the measurement is not stored, or a stored session lacks the metric.
    """
    metric, entry = metric_of(metric_name), entry_of(stored, target.key)
    if metric.aggregate not in (Aggregate.MEAN, Aggregate.MEDIAN):
        raise UsageError(f"{metric_name} has no regression gate", next_step="use the contention or consistency marker")
    again = f"save it anew under another name: pytest --llmperf-save NAME, with {metric_name} defined"
    lacking = [session.saved_at for session in entry.session if metric_name not in session.rounds]
    if lacking:
        raise BaselineError(
            f"baseline {stored.name} has no {metric_name} of {target.key} in the session saved at {lacking[0]}",
            next_step=f"{again}, or name other metrics: regression(metrics=(...))",
        )
    machine = metric.kind is MetricClass.MACHINE
    faults = [unlike(session, target.facts, machine=machine) for session in entry.session]
    alike = [session for session, fault in zip(entry.session, faults, strict=True) if not fault]
    # If no session can be compared, all are kept for the centre that is shown; the newest says why.
    sessions, why = (alike, "") if alike else (list(entry.session), faults[-1])
    reference = tuple(tuple(session.rounds[metric_name]) for session in sessions)
    try:
        centre = reference_centre(metric.aggregate, reference)
    except MeasurementError as error:
        raise BaselineError(
            f"baseline {stored.name}, {metric_name} of {target.key}: {error.args[0]}", next_step=again
        ) from error
    count = f"{len(sessions)} session{'' if len(sessions) == 1 else 's'}"
    return Gate(
        marker=marker,
        metric=metric_name,
        bound=metric.good,
        limit=centre,
        source=f"baseline {stored.name}, {count}, newest saved at {sessions[-1].saved_at}",
        delta=metric.delta if delta is None else delta,
        reference=reference,
        not_comparable=why,
        demanded=demanded,
        baseline=stored.name,
    )


def sessions_like(metric_name: str, stored: Baseline, target: Target) -> tuple[tuple[float, ...], ...]:
    """A metric's values in the stored sessions that are comparable with a measurement; empty if there are none."""
    if not stored.stored:
        return ()
    try:
        entry = entry_of(stored, target.key)
    except BaselineError:
        return ()  # nothing is stored of this measurement, which a limit gate does not need
    return tuple(
        tuple(session.rounds[metric_name])
        for session in entry.session
        if metric_name in session.rounds and is_like(session, target.facts, metric_name)
    )


def marked_comparisons(marker: Marker, stored: Baseline, target: Target) -> tuple[Gate, ...]:
    """The gates of a `regression` marker: one per metric; raises as `comparison_gate` and `option_limit` do."""
    bare = target.option_limit(marker.name)
    delta = bare if marker["delta"] is None else marker["delta"]
    return tuple(
        comparison_gate(metric, marker=marker.name, delta=delta, stored=stored, target=target, demanded=True)
        for metric in named_metrics(marker, target.compared)
    )


def compare_gates(stored: Baseline, target: Target, *, metrics: tuple[str, ...] = ()) -> tuple[Gate, ...]:
    """The gates that `--llmperf-compare` adds to a test without a `regression` marker: one per metric.

    Args:
        stored: the baseline named by `--llmperf-compare`.
        target: the measurement that will be compared.
        metrics: the metrics to compare; if empty, the target's metrics. Metrics that a stored session lacks are left
            out.

    Returns:
        Gates with `demanded=False`.

    Raises:
        UsageError: the marker would refuse a setting.
        BaselineError: the baseline has no session of this measurement, or none of the metrics.
    """
    entry, metrics = entry_of(stored, target.key), metrics or target.compared
    held = [metric for metric in metrics if all(metric in session.rounds for session in entry.session)]
    if not held:
        raise BaselineError(
            f"baseline {stored.name} holds none of {', '.join(metrics)} in every session of {target.key}",
            next_step="save it anew under another name: pytest --llmperf-save NAME",
        )
    delta = target.option_limit("regression")
    return tuple(
        comparison_gate(metric, marker="regression", delta=delta, stored=stored, target=target, demanded=False)
        for metric in held
    )


def without_regression(
    markers: Sequence[Marker], settings: Settings, baseline: Baseline, stored: Baseline | None
) -> tuple[tuple[Marker, ...], tuple[str, ...]]:
    """The markers without `regression` if the run makes the very baseline that it would compare with; and a note.

    That is so with `--llmperf-update`, and with `--llmperf-save` if there is nothing to compare with.
    """
    new = settings.update or (settings.save if stored is None and not baseline.stored else "")
    if not new or not any(marker.compares for marker in markers):
        return tuple(markers), ()
    note = f"the marker regression was not judged: this run makes baseline {new}, which it would compare with"
    return tuple(marker for marker in markers if not marker.compares), (note,)
