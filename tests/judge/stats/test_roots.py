"""Where a rising function becomes 0."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.stats.roots import crossing

SHAPES: dict[str, Callable[[float], float]] = {
    "straight": lambda x: x,
    "steep": lambda x: x**9,
    "flat": math.log1p,
    "a step": lambda x: float(x >= 1),
    "a tail": lambda x: -math.erfc(x),
}


@pytest.mark.parametrize("shape", SHAPES)
@given(st.floats(1e-3, 1e3), st.floats(1e-2, 1e2))
def test_it_finds_where(shape: str, scale: float, start: float) -> None:
    """To seven digits, in no more than one step beyond bisection's, wherever the search begins."""
    function, asked = SHAPES[shape], []

    def rising(x: np.ndarray) -> np.ndarray:
        asked.append(x)
        return np.array([function(value / scale) - function(1.0) * (1 - 1e-12) for value in x])

    (root,) = crossing(rising, np.array([start * scale]), most=1e9)
    assert root == pytest.approx(scale, abs=2e-7 * max(start, 1) * scale)
    assert len(asked) <= 2 + max(1, math.ceil(math.log2(1 / start)) + 1) + 24 + 1


def test_a_smooth_one_takes_few_steps() -> None:
    """A dozen values, where bisection needs two."""
    asked: list[np.ndarray] = []
    crossing(lambda x: asked.append(x) or 0.025 - math.erfc(x) + np.zeros(()), np.array(1.0), most=1e9)
    assert len(asked) <= 12


def test_none_is_infinite_and_zero_is_zero() -> None:
    """One that stays below 0 crosses nowhere; one that begins above it has nothing to look for."""
    roots = crossing(lambda x: x - np.array([1e12, -1.0, 3.0]), np.ones(3), most=1e9)
    assert roots == pytest.approx([math.inf, 0.0, 3.0])
