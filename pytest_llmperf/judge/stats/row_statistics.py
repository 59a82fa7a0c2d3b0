"""Means and variances of the rows of arrays, shape (..., rounds)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.resolution import step_of

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]


def row_means(values: Array) -> Array:
    """The mean of each row, shape (..., rounds); the mean of equal values is exactly their value."""
    first = values[..., 0]
    means: Array = first + (values - first[..., None]).mean(axis=-1)
    return means


def exact_row_means(values: Array) -> Array:
    """The mean of each row, from its exact sum: the order of rounds changes no bit, and a tie stays one."""
    rows = values.reshape(-1, values.shape[-1]).tolist()
    sums = np.fromiter(map(math.fsum, rows), dtype=float, count=len(rows))
    means: Array = (sums / values.shape[-1]).reshape(values.shape[:-1])
    return means


def row_variances(values: Array) -> Array:
    """The sample variance (ddof = 1) of each row; that of equal values is exactly 0."""
    residuals = values - row_means(values)[..., None]
    variances: Array = (residuals * residuals).sum(axis=-1) / (values.shape[-1] - 1)
    return variances


def row_steps(values: Array) -> Array:
    """The resolution of each row, see `resolution.step_of`."""
    ordered = np.sort(values, axis=-1)
    steps = np.zeros(values.shape[:-1])
    for row in map(tuple, np.argwhere((ordered[..., 1:] == ordered[..., :-1]).any(axis=-1))):
        steps[row] = step_of(values[row].tolist())
    return steps
