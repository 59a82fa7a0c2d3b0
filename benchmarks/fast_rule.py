"""The package's regression rule over many simulated runs at once, with numpy: the twin that `tests/judge` pins to it.

Every function does to the rows of an array what the function of the package that its docstring names does to one run.
The figures that do not depend on the data (errors of looks, nodes, weights of medians) are the package's own.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from pytest_llmperf.judge import intervals, levels, regression, scatter, sequence
from pytest_llmperf.judge.doubt import MOST_SKEW
from pytest_llmperf.judge.quantiles import beta_quantile, chi2_nodes, t_quantile

PASS, FAIL, OPEN = 1, 2, 0
_Z = np.linspace(-12, 12, 48_001)
_TAIL = np.array([math.erfc(z / math.sqrt(2)) / 2 for z in _Z])


def normal_tail(z):
    """`quantiles.normal_tail`, by interpolation: off by less than 1e-8 of a probability."""
    return np.interp(z, _Z, _TAIL)


class Doubts:
    """`doubt.Doubt`, one a row: variances of shape (runs, nodes), weights (nodes,), third cumulants (runs,)."""

    def __init__(self, variances, weights, third) -> None:
        self.variances, self.weights, self.third = variances, weights, third

    def worse(self, distance):
        """`Doubt.worse`."""
        return self._tail(distance, self.third)

    def better(self, distance):
        """`Doubt.better`."""
        return self._tail(distance, -self.third)

    def _tail(self, distance, third):
        z = distance[:, None] / np.sqrt(self.variances)
        skew = np.minimum(third[:, None] / self.variances**1.5, MOST_SKEW)
        long = skew > 1e-4
        safe = np.where(long, skew, 1.0)
        bent = 6 / safe * (np.cbrt(np.maximum(safe / 2 * z + 1, 0.0)) - 1) + safe / 6
        return normal_tail(np.where(long, bent, z)) @ self.weights


def look(doubts: Doubts, shift, *, delta: float, beyond: float, floor: float, errors: tuple[float, float], last: bool):
    """`drop.outcome_of` for every row; delta, beyond and floor are on the scale, errors those of fail and pass."""
    no_change, as_good = doubts.worse(shift), doubts.better(delta - shift)
    fail = (no_change <= errors[0]) & (no_change <= as_good)
    fail |= (shift >= floor) & (last | (no_change <= levels.ALPHA))
    sure = doubts.better(beyond - shift) <= errors[1]
    passed = (as_good <= levels.NEAR) & sure & (as_good < no_change) & ~fail
    return np.where(fail, FAIL, np.where(passed, PASS, OPEN))


class StoredRule:
    """`regression.drop_of`: sessions of equal length against new rounds, all on the scale of badness.

    Args:
        sessions: shape (runs, sessions, rounds).
        median: whether the centre is a median.
        assumed: spread between sessions that is assumed while they are few, on the scale.
    """

    def __init__(self, sessions, *, median: bool = False, assumed: float = regression.ASSUMED_SPREAD_PP) -> None:
        self.sessions, self.median, self.assumed = sessions, median, assumed

    def doubts(self, rows, values):
        """`regression.stored_of` and `Stored.doubt`, and the shift."""
        n = values.shape[1]
        old = self.sessions[rows][:, :, :n]
        count, length = old.shape[1:]
        centre = np.median if self.median else np.mean
        centres, new = centre(old, axis=2), centre(values, axis=1)
        between = centres.var(axis=1, ddof=1) if count > 1 else np.zeros(len(new))
        freedom = count * (length - 1) + n - 1
        squares = old.var(axis=2, ddof=1) * (length - 1)
        own = values.var(axis=1, ddof=1)
        excess = 0.0
        if self.median:
            variance, third = self._median_moments(old, values)
        else:
            one = (squares.sum(axis=1) + own * (n - 1)) / freedom
            thirds = [_third(old[:, index]) for index in range(count)] + [_third(values)]
            cumulant = np.mean(thirds, axis=0)
            variance, third = (lambda k: one / k), (lambda k: cumulant / k**2)
            stored = squares.sum(axis=1) / (count * (length - 1))
            excess = np.where(own > _ratio(n - 1, count * (length - 1)) * stored, own - one, 0.0)
        within = variance(length)
        noise = variance(n) + within / count + excess / n
        both = 1 + 1 / count
        few = count < regression.SESSIONS_FOR_SPREAD
        nodes = chi2_nodes(freedom if few else count - 1)
        x, weights = np.array(nodes).T
        if few:
            noise = noise * charges(values)
            between = np.maximum(self.assumed**2, between)
            variances = both * between[:, None] + noise[:, None] * freedom / x
        else:
            variances = both * np.maximum(between[:, None] * (count - 1) / x - within[:, None], 0.0) + noise[:, None]
        return Doubts(variances, weights, third(n) - third(length) / count**2), new - centres.mean(axis=1)

    def _median_moments(self, old, values):
        """`scatter.median_scatter` and its moments."""
        parts = [
            old - np.median(old, axis=2, keepdims=True),
            (values - np.median(values, axis=1, keepdims=True))[:, None],
        ]
        pooled = np.sort(np.concatenate([part.reshape(len(values), -1) for part in parts], axis=1), axis=1)
        if pooled.shape[1] > scatter.MOST_RESIDUALS:
            step = pooled.shape[1] / scatter.MOST_RESIDUALS
            pooled = pooled[:, [int((index + 0.5) * step) for index in range(scatter.MOST_RESIDUALS)]]

        def moment(k, power):
            weights = np.array(scatter.median_weights(pooled.shape[1], k))
            return ((pooled - (pooled @ weights)[:, None]) ** power) @ weights

        return (lambda k: moment(k, 2)), (lambda k: moment(k, 3))


class PairedRule:
    """`paired.paired_drop`; the values of the runs are differences, candidate less incumbent, on the scale."""

    def doubts(self, rows, values):  # noqa: ARG002 - the same call as that of StoredRule
        """`paired_drop`'s doubt, and the shift."""
        n = values.shape[1]
        x, weights = np.array(chi2_nodes(n - 1)).T
        typical = charges(values) * values.var(axis=1, ddof=1) / n
        return Doubts(typical[:, None] * (n - 1) / x, weights, np.zeros(len(values))), values.mean(axis=1)


def run(rule, values, *, delta: float, beyond: float, floor: float, first: int = 5, gates: int = 1):
    """Whole sessions: a look after each round from `first` to the last there is, as `session` does it.

    Args:
        rule: StoredRule or PairedRule.
        values: new rounds, shape (runs, most rounds), on the scale of badness.
        delta: the smallest change that matters, on the scale.
        beyond: levels.BEYOND times that change, on the scale.
        floor: levels.FLOOR_DELTAS times that change, on the scale.
        first: rounds of the first look.
        gates: of the run.

    Returns:
        Outcomes and rounds, each of shape (runs,).
    """
    most = values.shape[1]
    looks = most - first + 1
    outcomes, rounds, rows = np.zeros(len(values), int), np.full(len(values), most), np.arange(len(values))
    for n in range(first, most + 1):
        last = n == most
        errors = (
            levels.error_of_look(looks, last=last, gates=gates),
            levels.error_of_look(looks, last=last),
        )
        doubts, shift = rule.doubts(rows, values[rows, :n])
        found = look(doubts, shift, delta=delta, beyond=beyond, floor=floor, errors=errors, last=last)
        outcomes[rows], rounds[rows] = found, n
        rows = rows[found == OPEN]
        if not len(rows):
            break
    return outcomes, rounds


def charges(values):
    """`sequence.charge`."""
    n = values.shape[1]
    if n < sequence.MIN_SERIES:
        return np.ones(len(values))
    middle = values - values.mean(axis=1, keepdims=True)
    squares = (middle**2).sum(axis=1)
    raw = (middle[:, :-1] * middle[:, 1:]).sum(axis=1) / np.where(squares > 0, squares, 1.0)
    r = np.clip(raw + (1 + 3 * raw) / n, 0.0, sequence.MOST_AUTOCORRELATION)
    alike = (raw > -1 / n + sequence.ALIKE / math.sqrt(n)) & (squares > 0)
    return np.where(alike, (1 + r) / (1 - r), 1.0)


def _third(values):
    """`scatter._third_cumulant`."""
    n = values.shape[1]
    return n / ((n - 1) * (n - 2)) * ((values - values.mean(axis=1, keepdims=True)) ** 3).sum(axis=1)


@lru_cache(maxsize=1024)
def _ratio(above: int, below: int) -> float:
    """The ratio of variances beyond which `regression` charges the new rounds their own."""
    share = beta_quantile(regression.NOISIER, below / 2, above / 2)
    return below * (1 - share) / (above * share)


def run_limit(values, limit: float, ceiling: float, *, first: int = 5):
    """`gates._limit` with `intervals.interval` of a mean, whole sessions; values of shape (runs, most rounds)."""
    most = values.shape[1]
    alpha = intervals.alpha_of_look(most - first + 1)
    outcomes, rounds, rows = np.zeros(len(values), int), np.full(len(values), most), np.arange(len(values))
    for n in range(first, most + 1):
        part = values[rows, :n]
        middle = part.mean(axis=1)
        # Where an interval is widened, its end passes the limit when the plain one passes a nearer limit.
        nearer = middle - (middle - limit) / np.sqrt(charges(part))
        t = (middle - nearer) / (part.std(axis=1, ddof=1) / math.sqrt(n))
        bound = t_quantile(1 - alpha / 2, n - 1)
        passed, failed = t >= bound, t < -bound
        bounded = np.flatnonzero(part.max(axis=1) <= ceiling)
        if len(bounded):
            below = _below(ceiling - part[bounded], ceiling - nearer[bounded])
            passed[bounded] &= below >= 1 - alpha / 2
            failed[bounded] &= below < alpha / 2
        found = np.where(failed, FAIL, np.where(passed, PASS, OPEN))
        outcomes[rows], rounds[rows] = found, n
        rows = rows[found == OPEN]
        if not len(rows):
            break
    return outcomes, rounds


def _below(distances, limit):
    """`bounded.bounded_interval`: how probably the true mean distance to the ceiling is below this one."""
    n = distances.shape[1]
    roots = np.cbrt(distances)
    x, weights = np.array(chi2_nodes(n - 1)).T
    sd = np.sqrt(roots.var(axis=1, ddof=1)[:, None] * (n - 1) / x)
    centre = 2 * sd * np.sinh(np.arcsinh(limit[:, None] / (2 * sd**3)) / 3)
    return normal_tail((roots.mean(axis=1)[:, None] - centre) * math.sqrt(n) / sd) @ weights
