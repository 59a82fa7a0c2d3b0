"""Quantiles against tables, summaries, grades, and intervals that cover what they say."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.judge.stats import confidence_intervals, distributions, roots, summary
from pytest_llmperf.judge.stats.distributions import (
    beta_cdf,
    beta_quantile,
    binomial_tail,
    chi2_quantile,
    gamma_cdf,
    t_quantile,
)
from pytest_llmperf.judge.stats.summary import Aggregate
from pytest_llmperf.model import Bound
from tests.judge.build import gate

VALUES = st.lists(st.floats(0.001, 1e6), min_size=2, max_size=40)


@pytest.mark.parametrize(
    ("p", "df", "table"),
    [
        (0.95, 1, 6.314),
        (0.975, 1, 12.706),
        (0.9995, 1, 636.619),
        (0.975, 2, 4.303),
        (0.995, 4, 4.604),
        (0.975, 4, 2.776),
        (0.9995, 9, 4.781),
        (0.99, 19, 2.539),
        (0.975, 30, 2.042),
        (0.995, 120, 2.617),
        (0.975, math.inf, 1.960),
        (0.995, math.inf, 2.576),
    ],
)
def test_t_quantiles_of_the_table(p: float, df: float, table: float) -> None:
    """Student's t as every textbook prints it, to its three decimals, on both sides."""
    assert t_quantile(p, df) == pytest.approx(table, abs=6e-4)
    assert t_quantile(1 - p, df) == pytest.approx(-table, abs=6e-4)


@pytest.mark.parametrize(
    ("p", "df", "table"),
    [
        (0.95, 1, 3.841),
        (0.95, 4, 9.488),
        (0.025, 19, 8.907),
        (0.975, 19, 32.852),
        (0.01, 30, 14.953),
        (0.99, 100, 135.807),
    ],
)
def test_chi_square_quantiles_of_the_table(p: float, df: float, table: float) -> None:
    """Chi-square as textbooks print it."""
    assert chi2_quantile(p, df) == pytest.approx(table, abs=6e-4)


@given(st.floats(0.5, 50), st.floats(0.5, 50), st.floats(0.001, 0.999))
def test_quantiles_invert_their_functions(a: float, b: float, p: float) -> None:
    """Where the quantile is, the function has its value."""
    assert beta_cdf(a, b, beta_quantile(p, a, b)) == pytest.approx(p, abs=1e-9)
    assert gamma_cdf(a, chi2_quantile(p, 2 * a) / 2) == pytest.approx(p, abs=1e-9)


def test_the_binomial_is_the_betas_other_face() -> None:
    """P(X <= k) of a fair coin by counting and by the beta function."""
    for n in (1, 5, 20):
        for k in range(n):
            assert binomial_tail(k, n) == pytest.approx(1 - beta_cdf(k + 1, n - k, 0.5))
    assert beta_cdf(1, 1, -1) == 0
    assert beta_cdf(1, 1, 1) == 1
    assert gamma_cdf(1, 0) == 0


@pytest.mark.parametrize(("p", "df"), [(0, 1), (1, 1), (0.5, 0), (math.nan, 1)])
def test_quantiles_refuse_what_has_none(p: float, df: float) -> None:
    """Probabilities of 0 and 1, and no degrees of freedom."""
    for quantile in (t_quantile, chi2_quantile):
        with pytest.raises(ValueError, match="wanted within"):
            quantile(p, df)


def test_summary_by_hand() -> None:
    """Five values: what is computed, and which percentiles they cannot support."""
    five = summary.summarise((4.0, 2.0, 8.0, 6.0, 10.0))
    assert (five.n, five.mean, five.median, five.min, five.max) == (5, 6, 6, 2, 10)
    assert five.sd == pytest.approx(math.sqrt(10))
    assert five.cv_pct == pytest.approx(100 * math.sqrt(10) / 6)
    assert (five.p50, five.p95, five.p99) == (6, 10, 10)
    assert not five.p95_supported
    assert not five.p99_supported


def test_percentiles_are_interpolated_where_the_sample_supports_them() -> None:
    """P95 from 20 values, P99 from 100; below that the maximum."""
    assert not summary.summarise(range(19)).p95_supported
    twenty = summary.summarise(range(20))
    assert twenty.p95_supported
    assert twenty.p95 == pytest.approx(18.05)
    assert twenty.p99 == 19
    hundred = summary.summarise(range(100))
    assert hundred.p99_supported
    assert hundred.p99 == pytest.approx(98.01)


def test_one_round_has_no_spread() -> None:
    """The standard deviation of one value is undefined, not 0; so is a CV of a mean of 0."""
    single = summary.summarise((3.0,))
    assert (single.sd, single.cv_pct) == (None, None)
    assert summary.summarise((0.0, 0.0)).cv_pct is None


@given(VALUES, st.randoms(use_true_random=False))
def test_summaries_do_not_depend_on_the_order_of_rounds(values: list[float], shuffler: random.Random) -> None:
    """And agree with the standard library."""
    mixed = values.copy()
    shuffler.shuffle(mixed)
    plain, shuffled = summary.summarise(values), summary.summarise(mixed)
    assert (plain.mean, plain.sd, plain.median, plain.p95) == (
        shuffled.mean,
        shuffled.sd,
        shuffled.median,
        shuffled.p95,
    )
    assert plain.sd == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-9)
    assert plain.min <= plain.median <= plain.max


@pytest.mark.parametrize("values", [(), (1.0, math.nan), (math.inf,)])
def test_values_that_are_no_numbers_are_refused(values: tuple[float, ...]) -> None:
    """By summaries, centres and intervals alike."""
    for work in (
        summary.summarise,
        lambda v: summary.aggregate_values(Aggregate.MEAN, v),
        lambda v: confidence_intervals.interval(Aggregate.MEAN, v, looks=1),
    ):
        with pytest.raises(MeasurementError, match=r"no round|wanted a finite number"):
            work(values)


def test_intervals_by_hand() -> None:
    """Mean of five by t = 2.776; median of ten by the second and ninth; 0 of 5 by Clopper and Pearson."""
    five = (96.0, 94.0, 98.0, 95.0, 97.0)
    mean = confidence_intervals.interval(Aggregate.MEAN, five, looks=1)
    half = 2.776445 * math.sqrt(2.5) / math.sqrt(5)
    assert (mean.low, mean.high) == (pytest.approx(96 - half), pytest.approx(96 + half))
    median = confidence_intervals.interval(Aggregate.MEDIAN, (1, 10, 2, 9, 3, 8, 4, 7, 5, 6), looks=1)
    assert (median.low, median.high) == (2, 9)  # 2 * P(X <= 1 of 10) = 2.1 %
    rate = confidence_intervals.interval(Aggregate.RATE, (0.0,) * 5, looks=1)
    assert (rate.low, rate.high) == (0, pytest.approx(1 - 0.025 ** (1 / 5)))
    assert confidence_intervals.interval(Aggregate.RATE, (1.0,), looks=1).high == 1
    one_of_five = confidence_intervals.interval(Aggregate.RATE, (1.0, 0, 0, 0, 0), looks=1)
    assert (one_of_five.low, one_of_five.high) == (pytest.approx(0.00505, abs=1e-5), pytest.approx(0.71642, abs=1e-5))


def test_more_looks_make_wider_intervals() -> None:
    """The error is shared over the looks, whatever the centre."""
    values = (94.0, 95.0, 96.0, 97.0, 99.0, 93.0, 98.0, 95.5, 96.5, 94.5, 92.0, 97.5)
    for aggregate in (Aggregate.MEAN, Aggregate.MEDIAN, Aggregate.CV):
        single, many = (confidence_intervals.interval(aggregate, values, looks=n, last=n == 1) for n in (1, 16))
        assert many.low < single.low <= single.high < many.high
        last = confidence_intervals.interval(aggregate, values, looks=16)
        assert many.low < last.low <= single.low <= single.high <= last.high < many.high
    assert confidence_intervals.alpha_of_look(1) == pytest.approx(0.05)
    assert confidence_intervals.alpha_of_look(16) == pytest.approx(0.7 * 0.05)
    assert confidence_intervals.alpha_of_look(16, last=False) == pytest.approx(0.3 * 0.05 / 15**0.7)
    assert confidence_intervals.alpha_of_look(16, gates=2, last=False) == pytest.approx(0.3 * 0.05 / 2 / 15)
    with pytest.raises(ValueError, match="at least 1"):
        confidence_intervals.alpha_of_look(0)


def test_few_rounds_widen_the_median() -> None:
    """Five rounds cannot reach 95 % by order: the hull of [min, max] and t on logs, which says what [min, max] has."""
    few = confidence_intervals.interval(Aggregate.MEDIAN, (12.0, 10.0, 14.0, 11.0, 13.0), looks=1)
    assert few.low == 10
    assert few.high > 14
    assert "93.8 %" in few.method
    with_zero = confidence_intervals.interval(Aggregate.MEDIAN, (0.0, 0.0, 0.0, 1.0), looks=16)
    assert with_zero.low < 0
    assert with_zero.high > 1
    wild = confidence_intervals.interval(Aggregate.MEDIAN, (1e-300, 1e300), looks=16)
    assert wild.low < 1e-300
    assert math.isinf(wild.high)


def test_the_cv_of_a_mean_near_zero_has_no_upper_end() -> None:
    """Its interval says infinite; a mean that is 0 has no CV at all."""
    assert math.isinf(confidence_intervals.interval(Aggregate.CV, (1.0, -0.5, 0.2, 3.0), looks=16).high)
    assert confidence_intervals.cv_interval((-5.0, -5.1) * 4, 0.05).low == 0
    with pytest.raises(MeasurementError, match="CV is undefined"):
        summary.aggregate_values(Aggregate.CV, (0.0, 0.0))
    with pytest.raises(MeasurementError, match="CV is undefined"):
        confidence_intervals.interval(Aggregate.CV, (-5.0, -5.1, -5.2, -5.1), looks=1)


def test_one_round_has_no_interval() -> None:
    """A mean, a median and a CV have none; a rate has an interval that covers nearly everything."""
    for aggregate in (Aggregate.MEAN, Aggregate.MEDIAN, Aggregate.CV):
        assert confidence_intervals.interval(aggregate, (1.0,), looks=1) is None


@pytest.mark.parametrize(
    ("aggregate", "draw", "truth"),
    [
        (Aggregate.MEAN, lambda rng: rng.gauss(98, 1.2), 98),
        (Aggregate.MEDIAN, lambda rng: rng.lognormvariate(3, 0.5), math.exp(3)),
        (Aggregate.RATE, lambda rng: float(rng.random() < 0.2), 0.2),
        (Aggregate.CV, lambda rng: rng.gauss(100, 4), 4),
    ],
)
@pytest.mark.parametrize("n", [5, 12])
def test_intervals_cover_the_truth(aggregate: Aggregate, draw, truth: float, n: int) -> None:
    """Drawn 1500 times with a fixed seed: at least 95 % of the intervals hold it (less what chance allows)."""
    rng = random.Random(108)
    held = 0
    for _ in range(1500):
        interval = confidence_intervals.interval(aggregate, [draw(rng) for _ in range(n)], looks=1)
        held += interval.low <= truth <= interval.high
    assert held / 1500 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 1500)


def test_rounds_to_decide_is_the_first_number_that_decides() -> None:
    """For a mean: one fewer would not have done; for a limit on the centre: none would; for a wider interval: more."""
    values, limit = (94.0, 96.0, 98.0), 95.0
    known = confidence_intervals.Interval(low=94.0, high=98.0, method="")
    wide = confidence_intervals.Interval(low=80.0, high=98.0, method="")

    def needed(aggregate: Aggregate, against: float, interval=known) -> int | None:
        return confidence_intervals.rounds_to_decide(aggregate, values, against, looks=1, known=interval)

    first = needed(Aggregate.MEAN, limit)
    alpha = confidence_intervals.alpha_of_look(1)
    half_width = confidence_intervals.t_half_width
    assert half_width(2.0, first, alpha) < 1 <= half_width(2.0, first - 1, alpha)
    assert needed(Aggregate.MEAN, 96.0) is None
    assert needed(Aggregate.MEDIAN, limit) > first
    times = 16.0 / half_width(2.0, 3, alpha)  # the low end is further away than Student's would be
    slow = needed(Aggregate.MEAN, limit, wide)
    assert times * half_width(2.0, slow, alpha) < 1 <= times * half_width(2.0, slow - 1, alpha)
    assert needed(Aggregate.MEAN, 97.0, wide) == needed(Aggregate.MEAN, 97.0)  # the other side is as it was
    for limit_pct in (4.0, 1.0):
        assert 4 <= needed(Aggregate.CV, limit_pct) <= 100
    assert roots.first_rounds(lambda _: True, roots.MOST_ROUNDS + 1) is None


@pytest.mark.parametrize("rounds", [1000, 5000])
@pytest.mark.parametrize(
    ("metric", "bound", "limit"),
    [
        ("efficiency_pct", Bound.MIN, 95.0),
        ("ttft_ms", Bound.MAX, 95.0),
        ("decode_tok_s_cv_pct", Bound.MAX, 1.05),
        ("contention_rate_ttft", Bound.MAX, 0.019),
    ],
)
def test_a_look_at_many_rounds_takes_no_more_steps(
    metric: str, bound: Bound, limit: float, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: values of the beta and gamma functions, which are what costs; the number of rounds is new."""
    calls = []
    for name in ("beta_cdf", "gamma_cdf"):
        function = getattr(distributions, name)
        monkeypatch.setattr(distributions, name, lambda *at, function=function: calls.append(at) or function(*at))
    for cached in (distributions.t_quantile, distributions.chi2_quantile, distributions.beta_quantile):
        cached.cache_clear()
    distributions.median_order.cache_clear()
    rng = random.Random(rounds)
    values = [float(rng.random() < 0.02) if "contention" in metric else 95 + rng.gauss(0, 1) for _ in range(rounds)]
    judge_values(gate(metric, limit, bound), values, looks=rounds, last=False)
    assert 0 < len(calls) <= 300


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 16**0.7, 0.05 / 16 / 20])
def test_the_order_of_a_medians_interval(alpha: float) -> None:
    """The outermost one that whole numbers allow, for any number of values."""
    for n in (1, 2, 5, 6, 9, 10, 11, 60, 301):
        small = [k for k in range(n) if 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n <= alpha]
        assert distributions.median_order(n, alpha) == len(small)
    order = distributions.median_order(5000, alpha)
    assert 2 * binomial_tail(order - 1, 5000) <= alpha < 2 * binomial_tail(order, 5000)
