"""Rounds for a given time, watched for drift; a critical level ends them."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.judge.baselines.toml_format import CRITICAL
from pytest_llmperf.judge.diagnosis.client_saturation import saturated
from pytest_llmperf.judge.metrics.machine_peaks import memory_mib
from pytest_llmperf.judge.soak import Alarm, Level, Soak, Watch
from pytest_llmperf.judge.soak_drift import drifts, leaks
from pytest_llmperf.session.measurement.arm import Arm
from pytest_llmperf.session.progress_listener import ProgressListener

SAMPLE_S = 30.0
"""Interval between two samples of memory (H.2)."""

_OFF = "memory, VRAM and temperature are not watched: telemetry is off (--llmperf-telemetry)"


def soak(
    arm: Arm,
    watched: Sequence[Level],
    asked_s: float,
    *,
    listener: ProgressListener,
    notes: tuple[str, ...] = (),
) -> Soak:
    """Run rounds until the time is up or a level is critical.

    Args:
        arm: the deployment, warm; it has the rounds afterwards.
        watched: the levels.
        asked_s: duration, by the rounds' own clock.
        listener: receives rounds and alarms.
        notes: what could not be watched.

    Raises:
        LlmperfError: a round failed.
    """
    watch = Watch(watched, asked_s)
    alarms: list[Alarm] = []
    lasted_s, count = 0.0, 0
    while lasted_s < asked_s and not any(alarm.level.level == CRITICAL for alarm in alarms):
        round_ = arm.run(count)
        count += 1
        lasted_s = watch.elapsed_s(round_)
        if reason := saturated(round_):
            arm.discard(round_)
            listener.say(f"a round does not count: {reason}")
        else:
            arm.keep(round_)
            alarms += watch.add(arm.measurement, round_)
            listener.round_done(watch.recent(arm.measurement), ())
    telemetry = arm.measurement.telemetry
    return Soak(
        asked_s=asked_s,
        lasted_s=lasted_s,
        alarms=tuple(alarms),
        drifts=drifts(arm.measurement) if arm.measurement.rounds else (),
        leaks=() if telemetry is None else leaks(memory_mib(telemetry, min(SAMPLE_S, asked_s / 20))),
        notes=(*notes, *((_OFF,) if telemetry is None else telemetry.notes)),
    )
