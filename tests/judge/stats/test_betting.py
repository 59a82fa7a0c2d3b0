"""Confidence sequences by betting: their errors under any stopping rule, and that interval and capital agree."""

import math
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.stats.betting import (
    log_capital,
    log_target,
    mean_interval,
    median_interval,
    rounds_to_refute,
)

RUNS, LOOKS = 1000, (*range(1, 21), *range(30, 301, 30))
ERROR = 0.025
MOST = ERROR + 4 * math.sqrt(ERROR * (1 - ERROR) / RUNS)
"""The promised error plus what chance may add in RUNS runs; seeds are fixed."""

CELLS: dict[str, tuple[float, Callable]] = {
    "one in ten is 8 points low": (98.2, lambda rng, shape: 99 - 8 * (rng.random(shape) < 0.1)),
    "nine in ten at 100, the tenth at 92": (99.2, lambda rng, shape: 100 - 8 * (rng.random(shape) < 0.1)),
    "one in a hundred at 0": (99.0, lambda rng, shape: 100 * (rng.random(shape) >= 0.01)),
    "100 less a gamma of shape 0.3": (97.0, lambda rng, shape: 100 - np.minimum(rng.gamma(0.3, 10, shape), 100)),
    "100 less a gamma of shape 1.15": (
        98.7,
        lambda rng, shape: 100 - np.minimum(rng.gamma(1.15, 1.3 / 1.15, shape), 100),
    ),
    "rounded to 0.1": (98.7, lambda rng, shape: np.round(98.7 + 0.03 * rng.standard_normal(shape), 1)),
    "two modes": (70.0, lambda rng, shape: np.where(rng.random(shape) < 0.5, 50.0, 90.0)),
    "none or all": (2.0, lambda rng, shape: 100 * (rng.random(shape) < 0.02)),
    "hardly any noise": (95.0, lambda rng, shape: 95 + 1e-6 * rng.standard_normal(shape)),
}
"""Means and values of distributions that defeat rules with a model."""


def ever_refuted(values: np.ndarray, mean: float) -> float:
    """The share of runs in which some look refutes means up to this one: no stopping rule errs more often."""
    looks = [log_capital(values[:, :n], mean) >= log_target() for n in LOOKS]
    return float(np.any(looks, axis=0).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_the_true_mean_is_rarely_refuted(name: str) -> None:
    """At no look, from below and from above, by more runs than promised: whoever stops when it suits errs no more."""
    mean, draw = CELLS[name]
    values = draw(np.random.default_rng(zlib.crc32(name.encode())), (RUNS, LOOKS[-1]))
    assert ever_refuted(values, mean) <= MOST
    assert ever_refuted(100 - values, 100 - mean) <= MOST


def test_a_rare_bad_round_costs_student_his_promise() -> None:
    """The same runs under Student's t: what betting is for."""
    values = CELLS["nine in ten at 100, the tenth at 92"][1](np.random.default_rng(1), (RUNS, 5))
    equal = float((values == 100).all(axis=1).mean())
    assert equal > 10 * MOST  # five rounds of 100 %: any interval without width passes
    assert ever_refuted(values, 99.2) <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["continuous", "two values", "heavy tail", "rounded"])
def test_the_true_median_is_rarely_excluded(kind: str) -> None:
    """For continuous values, for ties at the median, and for values without a variance."""
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    runs, most = 500, 60
    values, median = {
        "continuous": (rng.standard_normal((runs, most)), 0.0),
        "two values": (np.where(rng.random((runs, most)) < 0.5, 1.0, 2.0), 1.5),
        "heavy tail": (1 / rng.random((runs, most)) ** 2, 4.0),
        "rounded": (np.round(rng.standard_normal((runs, most))), 0.0),
    }[kind]
    missed = 0
    for row in values.tolist():
        looks = [median_interval(row[:n]) for n in range(1, most + 1, 3)]
        missed += any(not known.low <= median <= known.high for known in looks)
    assert missed / runs <= 2 * ERROR + 4 * math.sqrt(2 * ERROR / runs)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.integers(1, 20))
def test_the_interval_is_what_is_not_refuted(values: list[float], gates: int) -> None:
    """Beyond its ends every mean is refuted; within, none is; more gates make it wider, their order does not matter."""
    known, wider = mean_interval(values, 100.0), mean_interval(values, 100.0, gates=gates)
    assert 0 <= wider.low <= known.low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= known.high <= wider.high <= 100
    array = np.array(values)
    if known.low > 0.01:
        assert log_capital(array, known.low - 0.002) >= log_target()
        assert log_capital(array, min(known.low + 0.002, np.mean(values) + 0.002)) <= log_target() + 0.1
    if known.high < 99.99:
        assert log_capital(100 - array, 100 - known.high - 0.002) >= log_target()
    assert mean_interval(values[::-1], 100.0).low == pytest.approx(known.low, abs=2e-3)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_the_mirror_image(values: list[float]) -> None:
    """The interval of 100 less each value is 100 less the interval."""
    known, mirrored = mean_interval(values, 100.0), mean_interval([100 - value for value in values], 100.0)
    assert known.low == pytest.approx(100 - mirrored.high, abs=3e-3)
    assert known.high == pytest.approx(100 - mirrored.low, abs=3e-3)


def test_the_ends_at_the_bounds() -> None:
    """Rounds at a bound say nothing against it; no round is too few."""
    assert mean_interval([100.0] * 50, 100.0).high == 100
    assert mean_interval([0.0] * 50, 1.0).low == 0
    assert math.isinf(median_interval([3.0, 1.0, 2.0]).high)
    assert median_interval([float(n) for n in range(20)]).low > 0


@pytest.mark.parametrize(("value", "mean", "most"), [(98.7, 95.0, 1000), (1.0, 0.5, 1000), (100.0, 99.9, 10_000)])
def test_the_rounds_that_it_needs(value: float, mean: float, most: int) -> None:
    """The estimate is exact for rounds that are all alike: the first number that refutes."""
    rounds = rounds_to_refute([value], mean, most=most)
    assert rounds is not None
    assert log_capital(np.full(rounds, value), mean) >= log_target()
    assert log_capital(np.full(rounds - 1, value), mean) < log_target()


def test_values_at_the_mean_never_refute_it() -> None:
    """Nor do values on both sides of it alike."""
    assert rounds_to_refute([95.0], 95.0) is None
    assert rounds_to_refute([94.0, 96.0], 95.0) is None
