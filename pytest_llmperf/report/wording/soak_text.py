"""A soak in words: what it came to, what failed, what only warns."""

from __future__ import annotations

from pytest_llmperf.judge.baselines.toml_format import CRITICAL
from pytest_llmperf.judge.metrics.series import metric_of
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.soak import Alarm, Drift, Soak
from pytest_llmperf.model import Bound
from pytest_llmperf.report.wording.amounts import amount, digits_apart, limit_amount

_MEMORY = "memory of "


def soak_lines(record: Record) -> list[str]:
    """For the summary: how long, how many rounds, what was found, what was not watched."""
    soak = _of(record)
    found = [_alarm(one) for one in soak.alarms] + [_drift(one) for one in (*soak.drifts, *soak.leaks)]
    short = f" of {_time(soak.asked_s)}" if soak.lasted_s < soak.asked_s else ""
    head = f"soak: {_name(record)}: {_time(soak.lasted_s)}{short}, {len(record.measurement.rounds)} rounds"
    return [f"{head}: {'; '.join(found) or 'no alarm, no drift, no leak'}", *(f"  {note}" for note in soak.notes)]


def soak_failures(record: Record) -> list[str]:
    """What fails the test, a text each, with what to type next."""
    soak = _of(record)
    critical = [_alarm(one) for one in soak.alarms if one.level.level == CRITICAL]
    lines = [
        *(f"soak: {text}: the run ended there\n  next: {_NEXT_CRITICAL}" for text in critical),
        *(f"soak: {_drift(one)}\n  next: {_NEXT_DRIFT}" for one in soak.drifts),
        *(f"soak: {_drift(one)}\n  next: {_NEXT_LEAK}" for one in soak.leaks),
    ]
    return [line.replace("\n", f"\n  {_name(record)}, {len(record.measurement.rounds)} rounds\n", 1) for line in lines]


def soak_warnings(record: Record) -> list[str]:
    """What only warns."""
    return [f"soak: {_alarm(one)}, {_name(record)}" for one in _of(record).alarms if one.level.level != CRITICAL]


_NEXT_CRITICAL = "look at the last window: --llmperf-html report.html; a level of your own: [[threshold]] of that level"
_NEXT_DRIFT = (
    "look at the clocks and temperature of the machine, and at what else runs there: --llmperf-html report.html"
)
_NEXT_LEAK = "run it twice as long: a leak doubles, a cache does not"


def _of(record: Record) -> Soak:
    if record.soak is None:
        raise ValueError(f"{record.test} is no soak")
    return record.soak


def _name(record: Record) -> str:
    measurement = record.measurement
    simulated = " (SIMULATED)" if measurement.topology.simulated else ""
    return f"{measurement.scenario.name} on {measurement.topology.kind}{simulated}"


def _alarm(one: Alarm) -> str:
    level, side = one.level, "below" if one.level.bound is Bound.MIN else "above"
    more = digits_apart(level.metric, level.limit, [one.value])
    return (
        f"{level.metric} {level.level}: {amount(one.value, level.metric, more)} over {_time(one.window_s)} "
        f"({one.rounds} rounds), {side} {limit_amount(level.limit, level.metric, more)} ({level.source}), "
        f"after {_time(one.at_s)}"
    )


def _drift(one: Drift) -> str:
    if one.what.startswith(_MEMORY):
        return (
            f"{one.what} grew by {one.lost:.0f} MiB, {one.before:.0f} -> {one.after:.0f} MiB ({one.matters:.0f} matter)"
        )
    unit = metric_of(one.what).change_unit
    values = f"{amount(one.before, one.what)} -> {amount(one.after, one.what)}"
    return f"{one.what} drifted by {one.lost:.1f} {unit}, {values} ({one.matters:g} matter)"


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
