"""A second simulation of the verdicts that shares no code with the package: rule and noise are written from the docs.

    python benchmarks/independent.py [--runs 4000] [--drawn 30] [--csv benchmarks/envelope.csv]

The decision is written anew from docs/verdicts.md and docs/verdicts-appendix.md, with scipy's distributions; the noise
from the names of docs/envelope.md. It takes chosen cells of the envelope and others drawn at random (fixed seed), and
compares the shares of wrong verdicts with those that the shipped code had there (the CSV): each within 3 standard
errors of the difference. Exits 1 if any is not.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import zlib
from pathlib import Path

import numpy as np
from scipy import special, stats

FIRST, ERROR = 5, 0.01
DELTA = {"efficiency": 2.0, "tok/s": 20.0, "ttft": 20.0}


# --- noise, by the names of docs/envelope.md


def bad_noise(rng, name, shape):
    """Noise of mean 0 and sd 1 whose positive side is the bad one."""
    law, _, parameter = name.rpartition(" ")
    if name in PLAIN:
        return PLAIN[name](rng, shape)
    if name.endswith("% low"):
        p = float(name.split()[0]) / 100
        raw = rng.normal(size=shape) + 5 * rng.binomial(1, p, shape)
        return (raw - 5 * p) / math.sqrt(1 + 25 * p * (1 - p))
    known = LAWS[law](float(parameter))
    return (known.rvs(size=shape, random_state=rng) - known.mean()) / known.std()


PLAIN = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "uniform": lambda rng, shape: rng.uniform(-math.sqrt(3), math.sqrt(3), shape),
    "one in ten": lambda rng, shape: (rng.binomial(1, 0.1, shape) - 0.1) / 0.3,
}
LAWS = {"gamma": stats.gamma, "lognormal": stats.lognorm, "Student": stats.t}


def series_of(rng, cell, shape, ratio=1.0):
    """Losses of rounds within sessions; the last axis is time."""
    z = bad_noise(rng, cell["noise"], shape)
    if r := cell["memory"]:
        out = [z[..., 0]]
        for t in range(1, shape[-1]):
            out.append(r * out[-1] + math.sqrt(1 - r * r) * z[..., t])
        z = np.stack(out, axis=-1)
    return ratio * cell["sd"] * z + cell["drift"] * np.arange(shape[-1])


def seen(cell, loss):
    """Losses as they are known after rounding of the values that they belong to."""
    if cell["metric"] in ("efficiency", "cv"):
        value = cell["centre"] - loss
        if cell["metric"] == "efficiency" and cell["rule"] in ("limit", "betting"):
            value = np.minimum(value, 100)
        if cell["step"]:
            value = np.round(np.round(value / cell["step"]) * cell["step"], 6)
        return cell["centre"] - value
    return loss


# --- tails


def chi_nodes(df, count):
    """Nodes and weights of an expectation over a chi-square variable."""
    x, w = special.roots_genlaguerre(count, df / 2 - 1)
    return 2 * x, w / special.gamma(df / 2)


def upper_tail(x, skew):
    """P(X > x), X of mean 0, variance 1 and this skewness at least 0: gamma by Wilson and Hilferty."""
    g = np.maximum(skew, 1e-6)
    inner = np.maximum(1 + g * x / 2, 0)
    return special.ndtr(-np.where(skew < 1e-5, x, (6 / g) * (np.cbrt(inner) - 1) + g / 6))


class Null:
    """The distribution of a change estimate: variances by node (runs, nodes) with weights, and a third cumulant."""

    def __init__(self, variances, weights, cumulant):
        self.sd, self.weights = np.sqrt(variances), weights
        self.skew = cumulant[:, None] / self.sd**3

    def at_least(self, d):
        """P(an estimate of at least d), when nothing has changed."""
        return upper_tail(d[:, None] / self.sd, np.maximum(self.skew, 0)) @ self.weights

    def at_most(self, d):
        """P(an estimate of at most d)."""
        return upper_tail(-d[:, None] / self.sd, np.maximum(-self.skew, 0)) @ self.weights


def third_cumulant(centred, groups_axis_n):
    """Pooled unbiased third cumulant of groups (runs, groups, n) that are centred."""
    n = groups_axis_n
    if n < 3:
        return np.zeros(centred.shape[0])
    return (centred**3).sum(-1).mean(-1) * n / ((n - 1) * (n - 2))


# --- the rule


def error_of_look(n, most, gates):
    """The error that the look at n rounds may spend on `fail`."""
    looks = most - FIRST + 1
    if n == most:
        return ERROR / gates * (0.7 if looks > 1 else 1.0)
    return ERROR / gates * 0.3 / (looks - 1) ** (0.25 if gates == 1 else 0.75)


def decide(null, d, delta, beyond, n, most, gates):
    """Who passes and who fails at one look; `beyond` is 1.5 delta."""
    last = n == most
    none, single, more = null.at_least(d), null.at_most(d - delta), null.at_most(d - beyond)
    floor = (d >= 5 * delta) & (none <= error_of_look(most, most, gates))
    fails = (none <= error_of_look(n, most, gates)) | floor
    passes = (single <= (0.02 if last else 0.01)) & (more <= error_of_look(n, most, 1))
    both = fails & passes
    return passes & ~(both & (none < single)), fails & ~(both & (none >= single))


def rounding_variance(cell):
    """Variance of the values that repeat, one side; they are known to 0.1 at best."""
    if not cell["step"]:
        return 0.0
    return min(cell["step"], 0.1) ** 2 / 12


def stored_null(cell, old, new):
    """Against stored sessions: old (runs, sessions, m), new (runs, n)."""
    runs, sessions, m = old.shape
    n = new.shape[1]
    length = min(n, m)
    old = old[..., :length]
    median = cell["metric"] == "ttft"
    centre = np.median if median else np.mean
    centres = centre(old, axis=-1)
    d = centre(new, axis=-1) - centres.mean(-1)
    within = old - centres[..., None]
    df = sessions * (length - 1)
    noise = (within**2).sum((-1, -2)) / df
    between = centres.var(-1, ddof=1)
    x, wx = chi_nodes(sessions - 1, 24)
    total = (sessions - 1) * between[:, None] / x
    cumulant = np.zeros(runs) if median else third_cumulant(within, length)
    own = ((new - centre(new, axis=-1)[:, None]) ** 2).sum(-1) / (n - 1)
    noisier = own / np.maximum(noise, 1e-300) > stats.f.ppf(0.9, n - 1, df)
    step = rounding_variance(cell)
    if n == length == m or n <= m:
        extra = np.where(noisier, np.maximum(own - noise, 0), 0) / n
        variances, weights = total * (1 + 1 / sessions) + extra[:, None], wx
    else:
        y, wy = chi_nodes(df, 12)
        if median:
            at_m, at_n = median_variances(within, m), median_variances(within, n)
        else:
            at_m, at_n = noise / m, noise / n
        scale = df / y
        short, long = at_m[:, None, None] * scale, at_n[:, None, None] * scale
        left = np.maximum(total[:, :, None] - short, 0)
        if not median:
            long = np.where(noisier[:, None, None], np.maximum(long, (own / n)[:, None, None]), long)
        variances = (total[:, :, None] / sessions + left + long).reshape(runs, -1)
        weights = np.outer(wx, wy).ravel()
    skew = cumulant * (1 / n**2 - 1 / (sessions**2 * length**2))
    return Null(variances + step * (1 + 1 / sessions), weights, skew), d


def drifting(old, new):
    """Whether stored and new rounds (runs, sessions, m) and (runs, n) drift alike, and the new ones are more."""
    m, n = old.shape[2], new.shape[1]
    if n <= m:
        return np.zeros(len(new), bool)
    slopes, squares, spreads = [], [], []
    for rounds in (old, new[:, None, :]):
        number = np.arange(rounds.shape[2]) - (rounds.shape[2] - 1) / 2
        e = rounds - rounds.mean(-1, keepdims=True)
        slopes.append((e * number).sum((-1, -2)))
        squares.append((e**2).sum((-1, -2)))
        spreads.append(rounds.shape[1] * (number**2).sum())
    slope, spread = sum(slopes) / sum(spreads), sum(spreads)
    df = old.shape[1] * (m - 1) + n - 2
    variance = np.maximum(sum(squares) - slope**2 * spread, 0) / df / spread
    around = new - (slopes[1] / spreads[1])[:, None] * np.arange(n)
    t = slope / np.maximum(np.sqrt(variance) * wider_ends(around), 1e-300)
    return (slopes[0] * slopes[1] > 0) & (np.abs(t) > stats.t.ppf(0.975, df))


def median_variances(within, n):
    """Variance of the median of n rounds from the order statistics of all residuals (Maritz and Jarrett)."""
    pool = np.sort(within.reshape(len(within), -1), axis=-1)
    count = pool.shape[1]
    edges = np.arange(count + 1) / count
    half = (n + 1) / 2
    weights = np.diff(special.betainc(half, half, edges))
    first, second = pool @ weights, pool**2 @ weights
    return second - first**2


def lag_one(values):
    """The lag-one autocorrelation of each row, uncorrected; -1 if a row does not vary."""
    e = values - values.mean(-1, keepdims=True)
    squares = (e**2).sum(-1)
    return np.where(squares > 1e-20, (e[:, 1:] * e[:, :-1]).sum(-1) / np.maximum(squares, 1e-300), -1)


def pairs_inflation(old, new, last):
    """How much neighbouring pairs that are alike widen the variance of the mean difference."""
    differences, sums, n = new - old, new + old, new.shape[1]
    if n < 7:
        r = np.full(len(new), 0.0 if last else 0.9)
    else:
        both = sums.var(-1) < 2 * differences.var(-1)
        raw = np.where(both, (lag_one(differences) + lag_one(sums)) / 2, lag_one(differences))
        counts = raw > 0.84 / np.sqrt(np.where(both, 2 * n, n)) - 1 / n
        r = np.where(counts, np.clip(raw + (1 + 3 * raw) / n, 0, 0.97), 0)
    w = (1 + r) / (1 - r) - 2 * r * (1 - r**n) / (n * (1 - r) ** 2)
    df = np.where((r > 0) & (n >= 7), np.clip(np.round(n / w - 1), 1, n - 1), n - 1)
    tails = stats.t.ppf(0.995, df) / stats.t.ppf(0.995, n - 1)
    return w * (n - 1) / np.maximum(n - w, 0.5) * tails**2


def pairs_null(cell, old, new, last):
    """By turns, both (runs, n)."""
    differences = new - old
    n = differences.shape[1]
    d, s2 = differences.mean(-1), differences.var(-1, ddof=1) * pairs_inflation(old, new, last)
    x, w = chi_nodes(n - 1, 24)
    variances = (n - 1) * s2[:, None] / x / n + 2 * rounding_variance(cell)
    return Null(variances, w, np.zeros(len(d))), d


def compare_null(old, new):
    """Sessions against sessions, both (runs, sessions, rounds)."""
    a, b = old.mean(-1), new.mean(-1)
    d = b.mean(-1) - a.mean(-1)
    x, wx = chi_nodes(a.shape[1] - 1, 24)
    y, wy = chi_nodes(b.shape[1] - 1, 24)
    first = a.var(-1, ddof=1)[:, None] * (a.shape[1] - 1) / x / a.shape[1]
    second = b.var(-1, ddof=1)[:, None] * (b.shape[1] - 1) / y / b.shape[1]
    variances = (first[:, :, None] + second[:, None, :]).reshape(len(d), -1)
    within = old - a[..., None], new - b[..., None]
    cumulants = [third_cumulant(side, side.shape[-1]) / (side.shape[1] * side.shape[2]) ** 2 for side in within]
    return Null(variances, np.outer(wx, wy).ravel(), cumulants[1] - cumulants[0]), d


def losses_lost(cell, deltas):
    """A number of deltas, as a difference of losses."""
    change = deltas * DELTA[cell["metric"]]
    if cell["metric"] == "efficiency":
        return change
    sign = 1 if cell["metric"] == "ttft" else -1
    return sign * math.log1p(sign * change / 100)


def sides(cell, rng, runs, deltas):
    """Losses of old and new rounds."""
    tau, stored = cell["spread"] * cell["sd"], (runs, cell["sessions"], cell["stored"])
    shape = stored if cell["rule"] == "compare" else (runs, cell["most"])
    new = series_of(rng, cell, shape, cell["ratio"]) + losses_lost(cell, deltas)
    new += tau * rng.normal(size=(*shape[:-1], 1))
    if cell["rule"] == "pairs":
        return seen(cell, series_of(rng, cell, shape)), seen(cell, new)
    old = series_of(rng, cell, stored) + tau * rng.normal(size=(runs, cell["sessions"], 1))
    return seen(cell, old), seen(cell, new)


def stored_look(cell, old, new, most):
    """Who passes and who fails; drifting sessions are compared by as many rounds as the stored ones have."""
    shares, codes = drifting(old, new), np.zeros((2, len(new)), bool)
    for some, count in ((shares, old.shape[2]), (~shares, new.shape[1])):
        if some.any():
            null, d = stored_null(cell, old[some], new[some, :count])
            deltas = losses_lost(cell, 1), losses_lost(cell, 1.5)
            codes[:, some] = decide(null, d, *deltas, new.shape[1], most, cell["gates"])
    return codes


def comparison(cell, rng, runs, deltas):
    """Codes (1 pass, 2 fail, 0 open) of whole runs that lose `deltas` deltas."""
    (old, new), codes, rows = sides(cell, rng, runs, deltas), np.zeros(runs, int), np.arange(runs)
    most = FIRST if cell["rule"] == "compare" else cell["most"]
    for n in range(FIRST, most + 1):
        if cell["rule"] == "stored":
            passes, fails = stored_look(cell, old[rows], new[rows, :n], most)
        else:
            taken = old[rows, :n], new[rows, :n]
            null, d = compare_null(old, new) if cell["rule"] == "compare" else pairs_null(cell, *taken, n == most)
            passes, fails = decide(null, d, losses_lost(cell, 1), losses_lost(cell, 1.5), n, most, cell["gates"])
        codes[rows[passes]], codes[rows[fails]] = 1, 2
        rows = rows[~(passes | fails)]
        if not len(rows):
            break
    return codes


# --- limits


def wider_ends(values):
    """The square root of the inflation of a variance of rounds that are alike."""
    raw, n = lag_one(values), values.shape[1]
    r = np.where(raw > 1.28 / math.sqrt(n) - 1 / n, np.clip(raw + (1 + 3 * raw) / n, 0, 0.8), 0)
    return np.sqrt((1 + r) / (1 - r))


def limit_ends(cell, values, alpha):
    """Interval of the mean of rows (runs, n)."""
    n = values.shape[1]
    mean, s = values.mean(-1), values.std(-1, ddof=1)
    t = stats.t.ppf(1 - alpha / 2, n - 1)
    low, high = mean - t * s / math.sqrt(n), mean + t * s / math.sqrt(n)
    if cell["metric"] == "efficiency":
        far, near = fourth_root_ends(100 - values, alpha)
        low, high = np.minimum(low, 100 - far), np.maximum(high, 100 - near)
        low = np.minimum(low, hall_low(values, t, 2 * s / np.maximum(100 - mean, 1e-9)))
    else:
        logs = log_high(values, alpha)
        high = np.where(logs - mean > 1.02 * (high - mean), logs, high)
    wider, half = wider_ends(values), min(cell["step"], 0.1) / 2
    return mean - wider * (mean - low) - half, mean + wider * (high - mean) + half


def hall_low(values, t, explained):
    """The lower end of a mean whose tail below few rounds do not show."""
    n = values.shape[1]
    e = values - values.mean(-1, keepdims=True)
    second = np.maximum((e**2).mean(-1), 1e-100)
    skew = np.where((e**2).sum(-1) > 0, (e**3).mean(-1) / second**1.5, 0)
    a = np.minimum(0.5 * skew - 0.95 + explained, -1e-6) / math.sqrt(n)
    quantile = 3 / a * (np.cbrt(1 + a * (t - a / 6)) - 1)
    return values.mean(-1) - np.maximum(quantile, t) * values.std(-1, ddof=1) / math.sqrt(n)


def log_high(values, alpha):
    """The upper end of a mean by logarithms."""
    logs, n = np.log(values), values.shape[1]
    half = logs.var(-1, ddof=1) / 2
    of_mean = stats.t.ppf(1 - alpha / 2, n - 1) * np.sqrt(2 * half / n)
    of_variance = half * ((n - 1) / stats.chi2.ppf(alpha / 2, n - 1) - 1)
    return np.exp(logs.mean(-1) + half + np.hypot(of_mean, of_variance))


def fourth_root_ends(distances, alpha):
    """The largest and the smallest mean of fourth powers of normal values, by generalized pivots on a grid."""
    roots, n = np.maximum(distances, 0) ** 0.25, distances.shape[1]
    z = special.ndtri((np.arange(80) + 0.5) / 80)[:, None]
    variances = (n - 1) / stats.chi2.ppf((np.arange(60) + 0.5) / 60, n - 1)[None, :]
    far, near = np.empty(len(roots)), np.empty(len(roots))
    for start in range(0, len(roots), 200):
        part = slice(start, start + 200)
        v = roots[part].var(-1, ddof=1)[:, None, None] * variances
        m = roots[part].mean(-1)[:, None, None] + z * np.sqrt(v / n)
        means = ((np.sign(m) * m**2 + 3 * v) ** 2 - 6 * v**2).reshape(len(m), -1)
        far[part], near[part] = np.quantile(means, (1 - alpha / 2, alpha / 2), axis=1)
    return far, near


def capital(values, mean):
    """The capital of bets against means up to this one."""
    fractions = np.concatenate([np.geomspace(0.005, 0.9, 9), [1.0]])
    shares = np.concatenate([np.full(9, 0.6 / 9), [0.4]])
    return sum(
        share * np.prod(1 - fraction + fraction * values / mean, axis=-1)
        for fraction, share in zip(fractions, shares, strict=True)
    )


def limit_rounds(cell, rng, runs):
    """Rounds of a limit gate, and the limit, which is the true value."""
    loss = series_of(rng, cell, (runs, cell["most"])) + cell["spread"] * cell["sd"] * rng.normal(size=(runs, 1))
    if cell["metric"] == "tok/s":
        return 100 * np.exp(-loss), 100 * math.exp(cell["sd"] ** 2 / 2)
    if cell["metric"] == "ttft":
        return 100 * np.exp(loss), float(np.median(100 * np.exp(series_of(rng, cell, (400_000, 1)))))
    if cell["metric"] == "cv":
        return cell["centre"] - loss, cell["sd"]
    return cell["centre"] - seen(cell, loss), cell["centre"]


def limit_look(cell, rows, truth):
    """Who passes and who fails at one look."""
    if cell["rule"] == "betting":
        if rows.shape[1] % 5:
            return np.zeros(len(rows), bool), np.zeros(len(rows), bool)
        half = min(cell["step"], 0.1) / 2
        return capital(rows, truth + half) >= 40, capital(100 - rows, 100 - truth + half) >= 40
    looks = cell["most"] - FIRST + 1
    alpha = 0.05 * (0.7 if rows.shape[1] == cell["most"] else 0.3 / (looks - 1) ** 0.7)
    if cell["metric"] in ("ttft", "cv"):
        low, high = (median_ends if cell["metric"] == "ttft" else cv_ends)(rows, alpha)
        return high <= truth, low > truth
    low, high = limit_ends(cell, rows, alpha)
    return low >= truth, high < truth


def limit(cell, rng, runs):
    """Codes of whole runs of a limit gate."""
    values, truth = limit_rounds(cell, rng, runs)
    codes, rows = np.zeros(runs, int), np.arange(runs)
    for n in range(FIRST, cell["most"] + 1):
        passes, fails = limit_look(cell, values[rows, :n], truth)
        codes[rows[passes]], codes[rows[fails]] = 1, 2
        rows = rows[~(passes | fails)]
        if not len(rows):
            break
    return codes


def cv_ends(rows, alpha):
    """Interval of the coefficient of variation, percent."""
    n = rows.shape[1]
    s, mean = rows.std(-1, ddof=1), rows.mean(-1)
    e2 = (rows - mean[:, None]) ** 2
    shown = (e2**2).mean(-1) / e2.mean(-1) ** 2 - 3 + 6 / (n + 1)
    df = np.minimum(2 * n / (np.maximum(0.5 * shown + 1.25, 0) + 2 * n / (n - 1)), n - 1)
    df = np.maximum(np.floor(10 * df) / 10, 1)
    off_mean = stats.t.ppf(1 - alpha * 0.05, n - 1) * s / math.sqrt(n)
    low, high = (s * np.sqrt(df / stats.chi2.ppf(p, df)) for p in (1 - 0.45 * alpha, 0.45 * alpha))
    return moved(rows, 100 * s / mean, 100 * low / (mean + off_mean), 100 * high / (mean - off_mean))


def moved(rows, middle, low, high):
    """Ends that are further from the middle, if neighbouring rounds are alike."""
    wider = wider_ends(rows)
    return middle - wider * (middle - low), middle + wider * (high - middle)


def median_ends(rows, alpha):
    """Interval of the median by order statistics; of few rows, of logarithms and the extremes."""
    n, ordered = rows.shape[1], np.sort(rows, axis=-1)
    left_out = max((k for k in range(n // 2) if stats.binom.cdf(k, n, 0.5) <= alpha / 2), default=None)
    if left_out is not None:
        low, high = ordered[:, left_out], ordered[:, n - 1 - left_out]
    else:
        logs = np.log(rows)
        off = stats.t.ppf(1 - alpha / 2, n - 1) * logs.std(-1, ddof=1) / math.sqrt(n) * wider_ends(logs)
        low = np.minimum(np.exp(logs.mean(-1) - off), ordered[:, 0])
        high = np.maximum(np.exp(logs.mean(-1) + off), ordered[:, -1])
    return moved(rows, np.median(rows, axis=-1), low, high)


# --- cells


TEXTS = ("cell", "version", "group", "rule", "metric", "noise")


def read(path):
    """The cells of the envelope with the results of the shipped code."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: value if key in TEXTS else float(value) for key, value in row.items()} for row in csv.DictReader(file)
        ]


def simulate(cell, runs):
    """Percent of wrong `fail` and `pass`, and of runs that are open with nothing lost."""
    for name in ("sessions", "stored", "most", "gates"):
        cell[name] = int(cell[name])
    rng = np.random.default_rng(zlib.crc32(b"independent" + cell["cell"].encode()))
    parts = []
    for _ in range(0, runs, 500):
        if cell["rule"] in ("limit", "betting"):
            codes = beyond = limit(cell, rng, 500)
        else:
            codes, beyond = comparison(cell, rng, 500, 0.0), comparison(cell, rng, 500, 1.5)
        parts.append(((codes == 2).mean(), (beyond == 1).mean(), (codes == 0).mean()))
    fails, passes, undecided = np.mean(parts, axis=0)
    return 100 * (1 - (1 - fails) ** cell["gates"]), 100 * passes, 100 * undecided


def off(ours, theirs, our_runs, their_runs):
    """The difference of two percentages in standard errors."""
    p = (ours * our_runs + theirs * their_runs) / (our_runs + their_runs) / 100
    error = 100 * math.sqrt(max(p * (1 - p), 1e-4) * (1 / our_runs + 1 / their_runs))
    return (ours - theirs) / error


SE = 3.0
OF_EACH = {"stored": 16, "pairs": 4, "compare": 4, "limit": 4, "betting": 2}
"""Chosen cells by rule: as usual, and as far as possible from each other in the order of the grid."""


def choose(cells, drawn):
    """The chosen cells, then others at random."""
    chosen = []
    for rule, count in OF_EACH.items():
        own = [cell for cell in cells if cell["rule"] == rule]
        chosen += [own[i * len(own) // count] for i in range(min(count, len(own)))]
    names = {cell["cell"] for cell in chosen}
    others = [cell for cell in cells if cell["cell"] not in names]
    return chosen, random.Random(16).sample(others, min(drawn, len(others)))


def main(arguments=None):
    """Simulate, print a row for each cell, and say how many differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--drawn", type=int, default=30)
    parser.add_argument("--csv", type=Path, default=Path(__file__).parent / "envelope.csv")
    parser.add_argument("--only", default="", help="rules or parts of cell names, separated by commas")
    given = parser.parse_args(arguments)
    chosen, drawn = choose(read(given.csv), given.drawn)
    differing = []
    for label, cells in (("chosen", chosen), ("drawn at random", drawn)):
        print(f"{label}: here / shipped code: wrong fail, wrong pass, inconclusive")
        for cell in cells:
            if given.only and not any(part in cell["cell"] for part in given.only.split(",")):
                continue
            ours = simulate(cell, given.runs)
            theirs = cell["fails"], cell["passes"], cell["open"]
            gaps = [off(a, b, given.runs, cell["runs"]) for a, b in zip(ours, theirs, strict=True)]
            if cell["gates"] > 1:
                gaps[0] /= cell["gates"] ** 0.5  # the error of 20 times a share
            shown = "; ".join(f"{a:.2f} / {b:.2f}" for a, b in zip(ours, theirs, strict=True))
            far = max(map(abs, gaps[:2])) > SE
            differing += [cell["cell"]] if far else []
            print(
                f"  {cell['cell']:<70} {shown}  {'DIFFERS' if far else 'agrees'} ({gaps[0]:+.1f}, {gaps[1]:+.1f})",
                flush=True,
            )
    count = len(chosen) + len(drawn)
    print(f"{count} cells, {len(differing)} differ in wrong verdicts by more than {SE:g} standard errors")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
