"""The loop of a soak, on a scripted clock: rounds that carry their own time, hours of it in an instant."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_llmperf.judge.soak import Soak
from pytest_llmperf.model import Round, Used
from pytest_llmperf.session.measurement.soak_loop import soak
from pytest_llmperf.session.progress_listener import SilentListener
from tests.judge.build import MS, measurement_of, observed, sample
from tests.judge.test_soak import CONTENTION, EFFICIENCY, at, even


class Scripted:
    """A deployment whose rounds take 20 s each, as the script says."""

    name = ""

    def __init__(self, script: Callable[[int], Round], memory: Callable[[int], float] | None) -> None:
        self.measurement = measurement_of()
        self._script = script
        self._memory = memory

    def run(self, index: int) -> Round:
        if self._memory is not None:
            known = self.measurement.telemetry
            new = replace(sample(20 * index, index=index), client=Used(cpu_s=0.0, rss_mib=self._memory(index)))
            samples = (*(known.samples if known is not None else ()), new)
            self.measurement = replace(self.measurement, telemetry=observed(*samples, notes=("no GPU",)).telemetry)
        return at(self._script(index), 20 * index)

    def keep(self, round_: Round) -> None:
        self.measurement = replace(self.measurement, rounds=(*self.measurement.rounds, round_))

    def discard(self, round_: Round) -> None:
        self.measurement = replace(self.measurement, discarded=(*self.measurement.discarded, round_))


def soaked(
    script: Callable[[int], Round], asked_s: float = 3600, memory: Callable[[int], float] | None = lambda _: 80.0
) -> tuple[Soak, Scripted]:
    arm = Scripted(script, memory)
    return soak(arm, (EFFICIENCY, CONTENTION), asked_s, listener=SilentListener()), arm


def test_it_runs_as_long_as_asked() -> None:
    """Three hours of healthy rounds: all of them, no alarm."""
    outcome, arm = soaked(even, asked_s=3 * 3600)
    assert outcome.lasted_s >= 3 * 3600 > outcome.lasted_s - 21
    assert len(arm.measurement.rounds) == 3 * 180 + 1
    assert not outcome.failed
    assert (outcome.alarms, outcome.drifts, outcome.leaks) == ((), (), ())
    assert outcome.notes == ("no GPU",)


def test_a_critical_level_ends_it() -> None:
    """After half an hour the agents lose their balance: it ends within a window of that."""
    outcome, arm = soaked(lambda index: even(index, 1 if index < 90 else 40))
    (alarm,) = outcome.alarms
    assert alarm.level is EFFICIENCY
    assert 1800 < outcome.lasted_s == alarm.at_s < 1800 + 300
    assert outcome.failed
    assert len(arm.measurement.rounds) == round(outcome.lasted_s) // 20 + 1


def test_a_warning_does_not() -> None:
    """It is reported, and the run continues."""
    outcome, _ = soaked(lambda index: even(index, ttft_ms=50))
    assert [alarm.level for alarm in outcome.alarms] == [CONTENTION]
    assert outcome.lasted_s >= 3600
    assert not outcome.failed


def test_a_slow_loss_is_a_drift() -> None:
    """No window is critical, and in an hour 6 points are lost."""
    outcome, _ = soaked(lambda index: even(index, 1 + index / 15))
    assert outcome.alarms == ()
    assert "efficiency_pct" in [drift.name for drift in outcome.drifts]
    assert outcome.failed


def test_memory_that_grows_is_a_leak() -> None:
    """Looked at every 30 s: two thirds of a megabyte each round of 20 s."""
    outcome, _ = soaked(even, memory=lambda index: 80 + index * 2 / 3)
    (leak,) = outcome.leaks
    assert leak.name == "memory of harness"
    assert 70 < leak.lost < 120
    assert outcome.failed


@pytest.mark.usefixtures("judged_client")
def test_rounds_that_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a saturated client raise no alarm, and take time all the same."""

    def starved(index: int) -> Round:
        round_ = even(index, 40)
        return replace(
            round_, together=tuple(replace(run, lag_ns=90 * MS, client_ns=90 * MS) for run in round_.together)
        )

    outcome, arm = soaked(starved, asked_s=600)
    assert arm.measurement.rounds == ()
    assert len(arm.measurement.discarded) == 31
    assert outcome.alarms == ()


def test_without_telemetry() -> None:
    """A note lists what is not watched."""
    outcome, _ = soaked(even, asked_s=60, memory=None)
    (note,) = outcome.notes
    assert "memory, VRAM and temperature are not watched" in note
    assert outcome.leaks == ()
