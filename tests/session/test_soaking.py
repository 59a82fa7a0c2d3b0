"""The loop of a soak, on a scripted clock: rounds that carry their own time, hours of it in an instant."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_llmperf.judge.soak import Soak
from pytest_llmperf.model import Round
from pytest_llmperf.session.memory import memory_mib
from pytest_llmperf.session.soaking import soak
from pytest_llmperf.session.watcher import Silent
from tests.judge.build import MS, measurement_of
from tests.judge.test_soak import CONTENTION, EFFICIENCY, at, even


class Scripted:
    """A deployment whose rounds take 20 s each, as the script says."""

    name = ""

    def __init__(self, script: Callable[[int], Round]) -> None:
        self.measurement = measurement_of()
        self._script = script

    def run(self, index: int) -> Round:
        return at(self._script(index), 20 * index)

    def keep(self, one: Round) -> None:
        self.measurement = replace(self.measurement, rounds=(*self.measurement.rounds, one))

    def discard(self, one: Round) -> None:
        self.measurement = replace(self.measurement, discarded=(*self.measurement.discarded, one))


def soaked(
    script: Callable[[int], Round], asked_s: float = 3600, memory=lambda: {"harness": 80.0}
) -> tuple[Soak, Scripted]:
    side = Scripted(script)
    return soak(side, (EFFICIENCY, CONTENTION), asked_s, watcher=Silent(), memory=memory), side


def test_it_runs_as_long_as_asked() -> None:
    """Twelve hours of healthy rounds: all of them, no alarm."""
    found, side = soaked(even, asked_s=12 * 3600)
    assert found.lasted_s >= 12 * 3600 > found.lasted_s - 21
    assert len(side.measurement.rounds) == 12 * 180 + 1
    assert not found.failed
    assert (found.alarms, found.drifts, found.leaks, found.notes) == ((), (), (), ())


def test_a_critical_level_ends_it() -> None:
    """After half an hour the agents lose their balance: it ends within a window of that."""
    found, side = soaked(lambda index: even(index, 1 if index < 90 else 40))
    (alarm,) = found.alarms
    assert alarm.level is EFFICIENCY
    assert 1800 < found.lasted_s == alarm.at_s < 1800 + 300
    assert found.failed
    assert len(side.measurement.rounds) == round(found.lasted_s) // 20 + 1


def test_a_warning_does_not() -> None:
    """It is told, and the run goes on."""
    found, _ = soaked(lambda index: even(index, ttft_ms=50))
    assert [alarm.level for alarm in found.alarms] == [CONTENTION]
    assert found.lasted_s >= 3600
    assert not found.failed


def test_a_slow_loss_is_a_drift() -> None:
    """No window is critical, and in an hour 6 points are lost."""
    found, _ = soaked(lambda index: even(index, 1 + index / 15))
    assert found.alarms == ()
    assert "efficiency_pct" in [one.what for one in found.drifts]
    assert found.failed


def test_memory_that_grows_is_a_leak() -> None:
    """Looked at every 30 s: a megabyte each time."""
    grown = iter(range(80, 10_000))
    found, _ = soaked(even, memory=lambda: {"harness": float(next(grown))})
    (leak,) = found.leaks
    assert leak.what == "memory of harness"
    assert next(grown) == pytest.approx(80 + 3600 / 30, abs=3)
    assert found.failed


def test_rounds_that_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a saturated client raise no alarm, and take time all the same."""

    def starved(index: int) -> Round:
        one = even(index, 40)
        return replace(one, together=tuple(replace(run, lag_ns=90 * MS, client_ns=90 * MS) for run in one.together))

    found, side = soaked(starved, asked_s=600)
    assert side.measurement.rounds == ()
    assert len(side.measurement.discarded) == 31
    assert found.alarms == ()


def test_where_memory_is_not_known() -> None:
    """It is said."""
    found, _ = soaked(even, asked_s=60, memory=dict)
    assert found.notes == ("memory is not watched: this system does not tell",)


def test_memory_of_the_harness_and_what_it_started() -> None:
    """Of this process, and of a child's child."""
    inner = "held = bytearray(50_000_000); print(1, flush=True); input()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"1\n"
        found = memory_mib()
        child.communicate(b"\n")
    assert found["harness"] > 20
    assert found["servers"] > 50
