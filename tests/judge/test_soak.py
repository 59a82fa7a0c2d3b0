"""A long run watched: windows, levels, drift and leaks, on the clock that the rounds themselves carry."""

import random
from dataclasses import replace

import pytest

from pytest_llmperf.judge.baselines import baseline_files
from pytest_llmperf.judge.soak import Level, Watch, exceeded_levels, levels_for
from pytest_llmperf.judge.soak_drift import drifts, leaks
from pytest_llmperf.model import Baseline, Bound, GpuSample, Measurement, Round, Threshold
from tests.judge.build import gate, measurement_of, observed, round_of, sample

CARD = baseline_files.load_named("decision_card", ())
S = 1_000_000_000
EFFICIENCY = Level(metric="efficiency_pct", level="critical", bound=Bound.MIN, limit=90.0, source="here")
CONTENTION = Level(metric="contention_rate_ttft", level="warning", bound=Bound.MAX, limit=0.02, source="here")


def at(round_: Round, start_s: float) -> Round:
    """The round as if its barrier had opened then."""
    shift = int(start_s * S)

    def moved(run):
        requests = tuple(
            replace(
                request,
                sent_ns=request.sent_ns + shift,
                done_ns=request.done_ns + shift,
                arrivals_ns=tuple(time_ns + shift for time_ns in request.arrivals_ns),
            )
            for request in run.requests
        )
        return replace(run, start_ns=run.start_ns + shift, requests=requests)

    return replace(round_, solo=tuple(map(moved, round_.solo)), together=tuple(map(moved, round_.together)))


def even(index: int, slower_ms: float = 1, **together) -> Round:
    return round_of((95, 95), (100, 100 - slower_ms), index=index, **together)


def watched(rounds, *levels: Level, asked_s: float = 3600):
    """The alarms of these rounds, one a minute."""
    watch = Watch(levels, asked_s)
    measurement = measurement_of(*rounds)
    return [alarm for number, round_ in enumerate(rounds) for alarm in watch.add(measurement, at(round_, 60 * number))]


def test_a_window_that_breaks_a_level() -> None:
    """Told once, when the five minutes' mean is below; what is past does not count any more."""
    rounds = [even(n) for n in range(10)] + [even(n, 40) for n in range(10, 20)]
    (alarm,) = watched(rounds, EFFICIENCY)
    assert alarm.window_s == 300
    assert alarm.rounds == 5
    # The mean of five rounds of 99.5 and 80 is below 90 from the third round of 80 on.
    assert alarm.at_s == pytest.approx(12 * 60 + 0.1)
    assert alarm.value == pytest.approx((2 * 99.5 + 3 * 80) / 5)


def test_contention_has_the_longer_window() -> None:
    """Fifteen minutes: not before they are full."""
    (alarm,) = watched([even(n, ttft_ms=50) for n in range(30)], CONTENTION)
    assert (alarm.window_s, alarm.value) == (900, 1.0)
    assert alarm.at_s == pytest.approx(900.1)
    assert alarm.rounds == 15


def test_nothing_is_said_of_healthy_rounds() -> None:
    """Nor of one bad round among good ones, nor before a window is full."""
    assert watched([even(n, 40 if n == 7 else 1) for n in range(30)], EFFICIENCY, CONTENTION) == []
    assert watched([even(n, 40) for n in range(5)], EFFICIENCY) == []


def test_a_short_run_has_shorter_windows() -> None:
    """No window is longer than the run."""
    (alarm,) = watched([even(n, 40) for n in range(3)], EFFICIENCY, asked_s=100)
    assert alarm.window_s == 100


def test_the_levels_of_the_report() -> None:
    """The levels of H.2, from the decision card; tok/s and ms only on its machine, else a note says so."""
    watched, notes = levels_for(CARD, CARD, CARD.manifest)
    assert {(level.metric, level.level): level.limit for level in watched} == {
        ("efficiency_pct", "warning"): 93.0,
        ("efficiency_pct", "critical"): 90.0,
        ("contention_rate_ttft", "warning"): 0.02,
        ("contention_rate_ttft", "critical"): 0.05,
        ("decode_tok_s", "warning"): 90.0,
        ("decode_tok_s", "critical"): 80.0,
        ("ttft_ms", "warning"): 1500.0,
        ("ttft_ms", "critical"): 2000.0,
        ("vram_gib", "warning"): 10.0,
        ("vram_gib", "critical"): 11.0,
        ("gpu_temperature_c", "warning"): 85.0,
        ("gpu_temperature_c", "critical"): 90.0,
    }
    assert notes == ()
    watched, notes = levels_for(CARD, CARD, {"cpu": "i3"})
    assert {level.metric for level in watched} == {"efficiency_pct", "contention_rate_ttft", "gpu_temperature_c"}
    assert [note.partition(": the")[0] for note in notes] == ["not watched: decode_tok_s, ttft_ms, vram_gib"]


def test_whose_levels_count() -> None:
    """Those of the baseline in force; of one that only gates its limit, as a critical level; else the card's."""
    limit = Threshold(metric="efficiency_pct", level="validation", bound=Bound.MIN, value=70, unit="%", source="ours")
    own = Baseline(schema=2, name="own", threshold=(limit,))
    watched, _ = levels_for(own, CARD, {})
    efficiency = [level for level in watched if level.metric == "efficiency_pct"]
    assert [(level.level, level.limit, level.source) for level in efficiency] == [
        ("critical", 70, "baseline own, ours")
    ]
    assert {level.limit for level in watched if level.metric == "contention_rate_ttft"} == {0.02, 0.05}
    warning = replace(limit, level="warning", value=85)
    watched, _ = levels_for(replace(own, threshold=(limit, warning)), CARD, {})
    assert [(level.level, level.limit) for level in watched if level.metric == "efficiency_pct"] == [("warning", 85)]


def heated(celsius: list[float]) -> Measurement:
    """Rounds with a GPU of these temperatures."""
    samples = [
        sample(20 * n, index=n, gpus=(GpuSample(temperature_c=c, memory_used_mib=2048.0),))
        for n, c in enumerate(celsius)
    ]
    return observed(*samples, rounds=len(celsius))


def test_heat_ends_a_run() -> None:
    """A GPU's temperature is looked at every 30 s: the warning level, then the critical one."""
    levels, _ = levels_for(CARD, CARD, {})
    watch, alarms = Watch(levels, 3600), []
    measurement = heated([80.0, 84.0, 86.0, 88.0, 91.0])
    for n in range(5):
        shown = replace(measurement, rounds=measurement.rounds[: n + 1])
        alarms += [
            (n, alarm.level.level)
            for alarm in watch.add(shown, at(even(n), 20 * n))
            if alarm.level.metric == "gpu_temperature_c"
        ]
    assert alarms == [(2, "warning"), (4, "critical")]


@pytest.mark.parametrize(
    ("celsius", "words"),
    [
        ([80.0, 84.0, 82.0], []),
        (
            [80.0, 86.0, 82.0],
            ["gpu_temperature_c reached 86 C, the warning level is 85 C (baseline decision_card, H.2)"],
        ),
        (
            [80.0, 91.0, 82.0],
            ["gpu_temperature_c reached 91 C, the critical level is 90 C (baseline decision_card, H.2)"],
        ),
    ],
    ids=["fine", "warning", "critical"],
)
def test_levels_that_a_short_run_crosses(celsius: list[float], words: list[str]) -> None:
    """The worst level of each metric is reported; if a gate judges the metric, only the gate reports it."""
    levels, _ = levels_for(CARD, CARD, {})
    assert list(exceeded_levels(heated(celsius), levels, ())) == words
    assert exceeded_levels(heated(celsius), levels, (gate("gpu_temperature_c", 85.0, Bound.MAX),)) == ()


def test_drift_is_found() -> None:
    """A machine that gets slower: by how much, and between which levels; constant noise is no drift."""
    rng = random.Random(1)
    healthy = [even(n, max(0, rng.gauss(2, 1))) for n in range(200)]
    assert drifts(measurement_of(*healthy)) == ()
    drifting = [even(n, max(0, rng.gauss(2 + n / 20, 1))) for n in range(200)]
    (drift,) = [drift for drift in drifts(measurement_of(*drifting)) if drift.name == "efficiency_pct"]
    assert drift.before - drift.after == pytest.approx(drift.lost) == pytest.approx(5, abs=1)
    assert drift.matters == 2.0
    assert drifts(measurement_of(*drifting[:3])) == ()


def test_leaks_are_found() -> None:
    """Steady growth is one; caches that fill at the start, and noise, are none."""
    rng = random.Random(2)

    def samples(level):
        return [{"harness": level(n) + rng.gauss(0, 1), "servers": 900 + rng.gauss(0, 5)} for n in range(100)]

    assert leaks(samples(lambda n: 80 + min(n, 15) * 4)) == ()
    (leak,) = leaks(samples(lambda n: 80 + n))
    assert leak.name == "memory of harness"
    assert leak.lost == pytest.approx(79, abs=4)
    assert leaks(samples(lambda n: 80 + n / 10)) == ()
    assert leaks([{}] * 50) == ()
    assert leaks([{"harness": 1.0}] * 3) == ()
