"""Autocorrelation of rounds, what it does to the variance of their centre, and outliers."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.resolution import varies
from pytest_llmperf.judge.stats.row_statistics import row_means

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_llmperf.judge.stats.row_statistics import Array

MIN_SERIES = 4
"""Fewer rounds have no autocorrelation worth the name."""

ALIKE = 1.28
"""Standard errors above that of independent rounds from which on an autocorrelation inflates the variance."""

MOST_AUTOCORRELATION = 0.8
"""A larger autocorrelation inflates the variance like this one."""

FAR = 3.5
"""An outlier is this many robust standard deviations from the median (Iglewicz and Hoaglin 1993)."""


def autocorrelation(values: Sequence[float]) -> float | None:
    """The lag-one autocorrelation, corrected for the bias of short series (Kendall 1954), within [-1, 1].

    None for fewer than MIN_SERIES rounds, or if all are equal.
    """
    if len(values) < MIN_SERIES:
        return None
    raw = lag_one(np.asarray(values, dtype=float))
    return None if np.isnan(raw) else float(np.clip(corrected(raw, len(values)), -1.0, 1.0))


def variance_inflation(values: npt.ArrayLike) -> Array:
    """The factor by which autocorrelation inflates the variance of the centre of each row; 1 if there is none.

    It is `(1 + r) / (1 - r)`, that of a first-order autoregression. A few rounds cannot show it well, so this corrects
    only part of the error; stored sessions are immune to it, see `judge.regression.stored_sessions`.

    Args:
        values: shape (..., rounds).
    """
    series = np.asarray(values, dtype=float)
    n = series.shape[-1]
    if n < MIN_SERIES:
        return np.ones(series.shape[:-1])
    raw = np.nan_to_num(lag_one(series), nan=-1.0)
    r = np.clip(corrected(raw, n), 0.0, MOST_AUTOCORRELATION)
    return np.where(raw > -1 / n + ALIKE / math.sqrt(n), (1 + r) / (1 - r), 1.0)


def outliers(values: Sequence[float]) -> tuple[int, ...]:
    """Numbers (from 1) of the outlying rounds; they are reported and never removed."""
    if len(values) < MIN_SERIES:
        return ()
    middle = statistics.median(values)
    # 1.4826 makes the median distance a standard deviation of normal values.
    sd = 1.4826 * statistics.median(abs(value - middle) for value in values)
    if not varies(sd, middle):
        return ()
    return tuple(number for number, value in enumerate(values, 1) if abs(value - middle) > FAR * sd)


def lag_one(series: Array) -> Array:
    """The uncorrected autocorrelation of neighbours in each row; NaN if all are equal."""
    residuals = series - row_means(series)[..., None]
    squares = (residuals * residuals).sum(axis=-1)
    products = (residuals[..., :-1] * residuals[..., 1:]).sum(axis=-1)
    return np.where(squares > 0, products / np.where(squares > 0, squares, 1.0), np.nan)


def corrected(raw: Array, n: int) -> Array:
    """An autocorrelation of n rounds without the bias of short series (Kendall 1954)."""
    return raw + (1 + 3 * raw) / n
