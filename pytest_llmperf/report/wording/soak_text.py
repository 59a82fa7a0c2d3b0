"""A soak test in words: its result, its failures, its warnings."""

from __future__ import annotations

from pytest_llmperf.judge.baselines.toml_format import CRITICAL
from pytest_llmperf.judge.metrics.series import metric_of
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.soak import MEMORY, Alarm, Drift, Soak
from pytest_llmperf.model import Bound
from pytest_llmperf.report.wording.amounts import amount, digits_apart, limit_amount


def soak_lines(record: Record) -> list[str]:
    """For the summary: duration, number of rounds, alarms, drifts and leaks, what was not watched."""
    soak = _of(record)
    problems = [*map(_alarm, soak.alarms), *map(_drift, (*soak.drifts, *soak.leaks))]
    short = f" of {_time(soak.asked_s)}" if soak.lasted_s < soak.asked_s else ""
    head = f"soak: {_name(record)}: {_time(soak.lasted_s)}{short}, {len(record.measurement.rounds)} rounds"
    return [f"{head}: {'; '.join(problems) or 'no alarm, no drift, no leak'}", *(f"  {note}" for note in soak.notes)]


def soak_failures(record: Record) -> list[str]:
    """The failures of the test, each with its next step."""
    soak = _of(record)
    critical = [_alarm(alarm) for alarm in soak.alarms if alarm.level.level == CRITICAL]
    lines = [
        *(f"soak: {text}; the soak was stopped\n  next: {_NEXT_CRITICAL}" for text in critical),
        *(f"soak: {_drift(drift)}\n  next: {_NEXT_DRIFT}" for drift in soak.drifts),
        *(f"soak: {_drift(leak)}\n  next: {_NEXT_LEAK}" for leak in soak.leaks),
    ]
    return [line.replace("\n", f"\n  {_name(record)}, {len(record.measurement.rounds)} rounds\n", 1) for line in lines]


def soak_warnings(record: Record) -> list[str]:
    """Alarms that do not fail the test."""
    return [f"soak: {_alarm(alarm)}, {_name(record)}" for alarm in _of(record).alarms if alarm.level.level != CRITICAL]


_NEXT_CRITICAL = (
    "inspect the last window: --llmperf-html report.html; to set another level, add a [[threshold]] of it to a baseline"
)
_NEXT_DRIFT = "check clocks, temperature and other processes of the machine: --llmperf-html report.html"
_NEXT_LEAK = "run it twice as long: a leak doubles, a cache does not"


def _of(record: Record) -> Soak:
    if record.soak is None:
        raise ValueError(f"{record.test} is not a soak test")
    return record.soak


def _name(record: Record) -> str:
    measurement = record.measurement
    simulated = " (SIMULATED)" if measurement.topology.simulated else ""
    return f"{measurement.scenario.name} on {measurement.topology.kind}{simulated}"


def _alarm(alarm: Alarm) -> str:
    level, side = alarm.level, "below" if alarm.level.bound is Bound.MIN else "above"
    more = digits_apart(level.metric, level.limit, [alarm.value])
    return (
        f"{level.metric} {level.level}: {amount(alarm.value, level.metric, more)} over {_time(alarm.window_s)} "
        f"({alarm.rounds} rounds) is {side} {limit_amount(level.limit, level.metric, more)} ({level.source}), "
        f"after {_time(alarm.at_s)}"
    )


def _drift(drift: Drift) -> str:
    if drift.name.startswith(MEMORY):
        return (
            f"{drift.name} grew by {drift.lost:.0f} MiB, {drift.before:.0f} -> {drift.after:.0f} MiB "
            f"(changes of {drift.matters:.0f} MiB or more count)"
        )
    unit = metric_of(drift.name).change_unit
    values = f"{amount(drift.before, drift.name)} -> {amount(drift.after, drift.name)}"
    return (
        f"{drift.name} drifted by {drift.lost:.1f} {unit}, {values} (changes of {drift.matters:g} {unit} or more count)"
    )


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
