"""Changes of level in a series: steps, creeps, and nothing where nothing changed."""

import random

import pytest

from pytest_llmperf.judge.stats.changepoints import How, breaks, levels

ERROR = 0.01


def noisy(levels_of, seed: int = 1, sd: float = 0.5) -> list[float]:
    rng = random.Random(seed)
    return [level + rng.gauss(0, sd) for level in levels_of]


def test_a_step_is_dated() -> None:
    """The step is between two sessions; the levels on both sides are the means there."""
    values = noisy([98.0] * 7 + [94.0] * 5)
    (change,) = breaks(values, ERROR)
    assert (change.how, change.start, change.end) == (How.STEP, 6, 7)
    assert change.before == pytest.approx(sum(values[:7]) / 7)
    assert change.after == pytest.approx(sum(values[7:]) / 5)
    assert change.error < 1e-6
    assert levels(values, [change]) == pytest.approx([change.before] * 7 + [change.after] * 5)


def test_a_creep_is_no_step() -> None:
    """Each session is a little worse than the last: one creep over all of them, not several steps."""
    values = noisy(98 - 0.4 * number for number in range(16))
    (change,) = breaks(values, ERROR)
    assert (change.how, change.start, change.end) == (How.CREEP, 0, 15)
    assert change.before == pytest.approx(98, abs=0.6)
    assert change.after == pytest.approx(92, abs=0.6)
    fitted = levels(values, [change])
    assert fitted[0] == change.before
    assert fitted[-1] == pytest.approx(change.after)


def test_several_changes() -> None:
    """Down, then up: two steps; then a creep from there on."""
    values = noisy([98] * 8 + [90] * 8 + [98] * 8 + [98 - 0.5 * number for number in range(12)], sd=0.3)
    changes = breaks(values, ERROR)
    assert [(change.how, change.end) for change in changes[:2]] == [(How.STEP, 8), (How.STEP, 16)]
    assert changes[-1].after == pytest.approx(92.5, abs=1.5)
    assert len(levels(values, changes)) == len(values)


@pytest.mark.parametrize(
    "values",
    [[], [1.0], [98, 98, 90, 90], [97.3] * 30, [98, 98, 98, 98, 60, 98, 98, 98], [0.0] * 9],
    ids=["none", "one", "too few", "equal", "one outlier", "zeros"],
)
def test_nothing_to_see(values: list[float]) -> None:
    """Too few sessions, equal sessions, and a single outlier."""
    assert breaks(values, ERROR) == ()


def test_equal_values_that_step() -> None:
    """Without any variance the step is certain."""
    (change,) = breaks([1.0] * 4 + [2.0] * 4, ERROR)
    assert (change.how, change.end, change.error) == (How.STEP, 4, 0.0)


@pytest.mark.parametrize("count", [6, 12, 30])
@pytest.mark.parametrize("tail", ["normal", "skewed"])
@pytest.mark.slow
def test_how_often_it_cries_wolf(count: int, tail: str) -> None:
    """About 5 % of 300 series without a change give a false alarm if 5 % are allowed; 26 are 3 sd more."""
    rng = random.Random(7)
    draw = {"normal": lambda: rng.gauss(95, 1), "skewed": lambda: 100 - rng.gammavariate(2, 1)}[tail]
    alarms = sum(bool(breaks([draw() for _ in range(count)], 0.05)) for _ in range(300))
    assert alarms <= 26


def test_bad_sessions_here_and_there_are_no_change_of_level() -> None:
    """Hardly any of 100 histories of 12 sessions has a change if 1 session in 10 is low by ten standard deviations."""
    rng = random.Random(16)

    def level() -> float:
        return 95 + rng.gauss(0, 1) - 10 * (rng.random() < 0.1)

    assert sum(bool(breaks([level() for _ in range(12)], 0.01)) for _ in range(100)) <= 4
