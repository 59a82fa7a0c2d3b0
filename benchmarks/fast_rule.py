"""The package's regression rule over many simulated runs at once, with numpy: the twin that `tests/judge` pins to it.

Every function does to the rows of an array what the function of the package that its docstring names does to one run.
The figures that do not depend on the data (errors of looks, nodes, weights of medians) are the package's own.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from pytest_llmperf.judge.regression import sampling_variance, stored_sessions
from pytest_llmperf.judge.regression.decision_rule import STILL
from pytest_llmperf.judge.regression.null_distribution import MOST_SKEW
from pytest_llmperf.judge.stats import autocorrelation, confidence_intervals, error_spending
from pytest_llmperf.judge.stats.distributions import beta_quantile, chi2_nodes, t_quantile
from pytest_llmperf.judge.stats.resolution import step_of

PASS, FAIL, OPEN = 1, 2, 0
_FAR, _FINE = 12, 2000
_TAIL = np.array([math.erfc((index / _FINE - _FAR) / math.sqrt(2)) / 2 for index in range(2 * _FAR * _FINE + 2)])
_STEPS = np.diff(_TAIL)


def normal_tail(z):
    """`quantiles.normal_tail`, interpolated: off by less than 1e-7 of a probability."""
    place = (np.clip(z, -_FAR, _FAR) + _FAR) * _FINE
    index = place.astype(np.intp)
    return _TAIL[index] + (place - index) * _STEPS[index]


class Doubts:
    """`doubt.Doubt`, one a row: the variance at a node x is `max(between / x - within, 0) + fixed + free / x`.

    Args:
        nodes: of `quantiles.chi2_nodes`.
        third: cumulants, shape (runs,); so are the parts of the variances.
        between, within, fixed, free: of the variances; 0 where there is no such part.
        rounding: the part of `fixed` that comes of rounded values.
    """

    def __init__(self, nodes, third, *, between=0.0, within=0.0, fixed=0.0, free=0.0, rounding=0.0) -> None:
        self.x, self.weights = np.array(nodes).T
        self.parts = [np.broadcast_to(part, third.shape) for part in (third, between, within, fixed, free, rounding)]

    def of(self, rows) -> Doubts:
        """Those of some rows."""
        other = object.__new__(Doubts)
        other.x, other.weights, other.parts = self.x, self.weights, [part[rows] for part in self.parts]
        return other

    def variances(self, x):
        """Shape (runs, nodes), or (runs,) at one node."""
        _, between, within, fixed, free, _ = (part if np.isscalar(x) else part[:, None] for part in self.parts)
        return np.maximum(between / x - within, 0.0) + fixed + free / x

    def median(self):
        """A variance that at least half of the weight is not below."""
        return self.variances(float(self.x[np.searchsorted(np.cumsum(self.weights), 0.5)]))

    def still(self, delta: float):
        """Whether `Doubt.scatter` is next to nothing."""
        return self.median() - self.parts[-1] <= (STILL * delta) ** 2

    def worse(self, distance):
        """`Doubt.worse`."""
        return self._tail(distance, self.parts[0])

    def better(self, distance):
        """`Doubt.better`."""
        return self._tail(distance, -self.parts[0])

    def _tail(self, distance, third):
        variances = self.variances(self.x)
        deviations = np.maximum(np.sqrt(variances), 1e-30)
        z = distance[:, None] / deviations
        (bent,) = np.nonzero(third > 0)
        if len(bent):
            skew = np.minimum(third[bent, None] / (variances[bent] * deviations[bent]), MOST_SKEW)
            safe = np.maximum(skew, 1e-4)
            root = np.cbrt(np.maximum(safe / 2 * z[bent] + 1, 0.0))
            z[bent] = np.where(skew > 1e-4, 6 / safe * (root - 1) + safe / 6, z[bent])
        return normal_tail(z) @ self.weights


def look(doubts: Doubts, shift, *, delta: float, beyond: float, floor: float, errors: tuple[float, float], last: bool):
    """`drop.outcome_of` for every row; delta, beyond and floor are on the scale, errors those of fail and pass.

    A tail is at least half of the normal's at the median variance: rows which that leaves open need no more work.
    """
    reach = np.sqrt(doubts.median())
    near_error = error_spending.NEAR if last else error_spending.NEAR / 2
    can_fail = shift > -t_quantile(2 * errors[0], math.inf) * reach
    can_pass = delta - shift > -t_quantile(2 * near_error, math.inf) * reach
    (rows,) = np.nonzero(can_fail | can_pass | (shift >= floor))
    found = np.full(len(shift), OPEN)
    if not len(rows):
        return found
    near, moved = doubts.of(rows), shift[rows]
    no_change, as_good = near.worse(moved), near.better(delta - moved)
    likely = (as_good < no_change) | ((as_good == no_change) & (moved <= delta - moved))
    fail = no_change <= errors[0]
    passed = (as_good <= near_error) & (near.better(beyond - moved) <= errors[1])
    passed &= likely | (fail & near.still(delta))
    fail = ~passed & (fail | ((moved >= floor) & (last | (no_change <= error_spending.ALPHA))))
    found[rows] = np.where(fail, FAIL, np.where(passed, PASS, OPEN))
    return found


class StoredRule:
    """`regression.drop_of`: sessions of equal length against new rounds, all on the scale of badness.

    Args:
        sessions: shape (runs, sessions, rounds).
        median: whether the centre is a median.
        assumed: spread between sessions that is assumed while they are few, on the scale.
    """

    def __init__(self, sessions, *, median: bool = False, assumed: float = stored_sessions.ASSUMED_SPREAD_PP) -> None:
        self.sessions, self.median, self.assumed = sessions, median, assumed
        self._known: dict[int, tuple] = {}

    def stored(self, length: int) -> tuple:
        """Of the first so many rounds of each session: centres' mean and variance, squares within, and so on."""
        if length not in self._known:
            old = self.sessions[:, :, :length]
            count = old.shape[1]
            centres = (np.median if self.median else np.mean)(old, axis=2)
            between = centres.var(axis=1, ddof=1) if count > 1 else np.zeros(len(old))
            squares = old.var(axis=2, ddof=1).sum(axis=1) * (length - 1)
            thirds = sum(_third(old[:, index]) for index in range(count))
            residuals = (old - centres[:, :, None]).reshape(len(old), -1) if self.median else None
            self._known[length] = centres.mean(axis=1), between, squares, thirds, residuals, roundings(old)
        return self._known[length]

    def doubts(self, rows, values):
        """`regression.stored_of` and `Stored.doubt`, and the shift."""
        n, count = values.shape[1], self.sessions.shape[1]
        length = min(n, self.sessions.shape[2])
        middle, between, squares, thirds, residuals, rounded = (
            part if part is None else part[rows] for part in self.stored(length)
        )
        below = count * (length - 1)
        freedom = below + n - 1
        own = values.var(axis=1, ddof=1)
        excess = 0.0
        if self.median:
            variance, third = self._median_moments(residuals, values)
            new = np.median(values, axis=1)
        else:
            one = (squares + own * (n - 1)) / freedom
            cumulant = (thirds + _third(values)) / (count + 1)
            variance, third = (lambda k: one / k), (lambda k: cumulant / k**2)
            few = stored_sessions.few_rounds(n)
            excess = np.where(own > _ratio(n - 1, below) * squares / below, few * own - one, 0.0)
            new = values.mean(axis=1)
        within = variance(length)
        noise = variance(n) + within / count + excess / n
        rounding = rounded + roundings(values)
        both, lopsided = 1 + 1 / count, third(n) - third(length) / count**2
        if count < stored_sessions.SESSIONS_FOR_SPREAD:
            fixed, free = both * np.maximum(self.assumed**2, between) + rounding, noise * charges(values) * freedom
            doubts = Doubts(chi2_nodes(freedom), lopsided, fixed=fixed, free=free, rounding=rounding)
        else:
            doubts = Doubts(
                chi2_nodes(count - 1),
                lopsided,
                between=both * between * (count - 1),
                within=both * within,
                fixed=noise + rounding,
                rounding=rounding,
            )
        return doubts, new - middle

    def _median_moments(self, residuals, values):
        """`scatter.median_scatter` and its moments."""
        own = values - np.median(values, axis=1, keepdims=True)
        pooled = np.sort(np.concatenate([residuals, own], axis=1), axis=1)
        if pooled.shape[1] > sampling_variance.MOST_RESIDUALS:
            step = pooled.shape[1] / sampling_variance.MOST_RESIDUALS
            pooled = pooled[:, [int((index + 0.5) * step) for index in range(sampling_variance.MOST_RESIDUALS)]]

        far = sampling_variance.FAR * np.median(np.abs(pooled), axis=1, keepdims=True)
        tamed = np.clip(pooled, -far, far)

        def variance(k):
            weights = np.array(sampling_variance.median_weights(pooled.shape[1], k))
            return (tamed * tamed) @ weights - (tamed @ weights) ** 2

        def third(k):
            weights = np.array(sampling_variance.median_weights(pooled.shape[1], k))
            first, second = pooled @ weights, (pooled * pooled) @ weights
            return (pooled * pooled * pooled) @ weights - 3 * first * second + 2 * first**3

        return variance, third


class PairedRule:
    """`paired.paired_drop`; the values of the runs are differences, candidate less incumbent, on the scale.

    Args:
        sides: incumbent's and candidate's values, where they may be rounded; None: they are not.
    """

    def __init__(self, sides=None) -> None:
        self.sides = sides

    def doubts(self, rows, values):
        """`paired_drop`'s doubt, and the shift."""
        n = values.shape[1]
        squares = charges(values) * values.var(axis=1, ddof=1) * (n - 1)
        rounding = sum(roundings(side[rows, :n]) for side in self.sides) if self.sides else 0.0
        doubts = Doubts(chi2_nodes(n - 1), np.zeros(len(values)), free=squares / n, fixed=rounding, rounding=rounding)
        return doubts, values.mean(axis=1)


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
            error_spending.error_of_look(looks, last=last, gates=gates),
            error_spending.error_of_look(looks, last=last),
        )
        doubts, shift = rule.doubts(rows, values[rows, :n])
        found = look(doubts, shift, delta=delta, beyond=beyond, floor=floor, errors=errors, last=last)
        outcomes[rows], rounds[rows] = found, n
        rows = rows[found == OPEN]
        if not len(rows):
            break
    return outcomes, rounds


def roundings(values):
    """`Scale.rounding` of every row, in points; logarithms are not rounded, and have no equal values."""
    flat = values.reshape(len(values), -1)
    ordered = np.sort(flat, axis=1)
    found = np.zeros(len(values))
    for row in np.flatnonzero((np.diff(ordered, axis=1) == 0).any(axis=1)):
        found[row] = step_of(flat[row].tolist()) ** 2 / 12
    return found


def charges(values):
    """`sequence.charge`."""
    n = values.shape[1]
    if n < autocorrelation.MIN_SERIES:
        return np.ones(len(values))
    middle = values - values.mean(axis=1, keepdims=True)
    squares = (middle**2).sum(axis=1)
    raw = (middle[:, :-1] * middle[:, 1:]).sum(axis=1) / np.where(squares > 0, squares, 1.0)
    r = np.clip(raw + (1 + 3 * raw) / n, 0.0, autocorrelation.MOST_AUTOCORRELATION)
    alike = (raw > -1 / n + autocorrelation.ALIKE / math.sqrt(n)) & (squares > 0)
    return np.where(alike, (1 + r) / (1 - r), 1.0)


def _third(values):
    """`scatter._third_cumulant`."""
    n = values.shape[1]
    return n / ((n - 1) * (n - 2)) * ((values - values.mean(axis=1, keepdims=True)) ** 3).sum(axis=1)


@lru_cache(maxsize=1024)
def _ratio(above: int, below: int) -> float:
    """The ratio of variances beyond which `regression` charges the new rounds their own."""
    share = beta_quantile(stored_sessions.NOISIER, below / 2, above / 2)
    return below * (1 - share) / (above * share)


def run_limit(values, limit: float, ceiling: float, *, first: int = 5):
    """`gates._limit` with `intervals.interval` of a mean, whole sessions; values of shape (runs, most rounds)."""
    most = values.shape[1]
    alpha = confidence_intervals.alpha_of_look(most - first + 1)
    outcomes, rounds, rows = np.zeros(len(values), int), np.full(len(values), most), np.arange(len(values))
    for n in range(first, most + 1):
        part = values[rows, :n]
        half = np.where((part == part[:, :1]).all(axis=1), 0.0, np.sqrt(3 * roundings(part)))
        passed = _beyond(part, limit + half, ceiling, alpha) | (part == limit).all(axis=1)
        failed = _beyond(part, limit - half, ceiling, -alpha) & ~passed
        found = np.where(failed, FAIL, np.where(passed, PASS, OPEN))
        outcomes[rows], rounds[rows] = found, n
        rows = rows[found == OPEN]
        if not len(rows):
            break
    return outcomes, rounds


def _beyond(part, limit, ceiling: float, alpha: float):
    """Whether the interval of each row lies above its limit; with a negative alpha, below it."""
    n, middle = part.shape[1], part.mean(axis=1)
    # Where an interval is widened, its end passes the limit when the plain one passes a nearer limit.
    nearer = middle - (middle - limit) / np.sqrt(charges(part))
    sd = np.maximum(part.std(axis=1, ddof=1), 1e-12)
    t, bound = (middle - nearer) / (sd / math.sqrt(n)), t_quantile(1 - abs(alpha) / 2, n - 1)
    found = t >= bound if alpha > 0 else t < -bound
    bounded = np.flatnonzero(part.max(axis=1) <= ceiling)
    if len(bounded):
        below = _below(ceiling - part[bounded], ceiling - nearer[bounded])
        found[bounded] &= below >= 1 - alpha / 2 if alpha > 0 else below < -alpha / 2
    return found


def _below(distances, limit):
    """`bounded.bounded_interval`: how probably the true mean distance to the ceiling is below this one."""
    n = distances.shape[1]
    roots = np.cbrt(distances)
    x, weights = np.array(chi2_nodes(n - 1)).T
    sd = np.sqrt(np.maximum(roots.var(axis=1, ddof=1), 1e-18)[:, None] * (n - 1) / x)
    centre = 2 * sd * np.sinh(np.arcsinh(limit[:, None] / (2 * sd**3)) / 3)
    return normal_tail((roots.mean(axis=1)[:, None] - centre) * math.sqrt(n) / sd) @ weights
