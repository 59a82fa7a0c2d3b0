"""The Universal Scalability Law: exact rounds, kinds of growth, lack of fit, and how often it is wrong."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks import scaling
from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.study.scaling.law_region import f_quantile
from pytest_llmperf.study.scaling.scaling_law import Growth, fit_scaling_law

WOBBLE = (0.99, 1.0, 1.01)
"""Rounds of equal scatter whose mean logarithm is that of the law, nearly."""


def rounds_of(law: scaling.Law) -> dict[int, list[float]]:
    return {agents: [law.throughput(agents) * factor for factor in WOBBLE] for agents in law.sizes}


@pytest.mark.parametrize(
    "law", [scaling.LINEAR, scaling.SERIAL, scaling.AMDAHL, scaling.SEVERE], ids=lambda law: law.name
)
def test_rounds_of_a_law_give_it_back(law: scaling.Law) -> None:
    """Also on the edge: no contention, full contention, no coherency."""
    fit = fit_scaling_law(rounds_of(law))
    assert fit.misfit is None
    assert fit.growth is law.growth
    assert (law.contention, law.coherency) in fit.region
    assert (fit.contention, fit.coherency) == pytest.approx((law.contention, law.coherency), abs=0.01)
    assert fit.gamma == pytest.approx(100, rel=0.02)
    assert fit.contention_interval.low <= law.contention <= fit.contention_interval.high
    assert fit.coherency_interval.low <= law.coherency <= fit.coherency_interval.high
    assert fit.efficiency == pytest.approx(law.throughput(law.sizes[-1]) / law.sizes[-1] / 100, rel=0.02)
    assert (0.5, 0.5) not in fit.region


def test_the_number_of_agents_of_most_throughput() -> None:
    """The square root of (1 - contention) / coherency; no number if throughput only grows."""
    severe = fit_scaling_law(rounds_of(scaling.SEVERE))
    assert severe.peak == pytest.approx(math.sqrt(0.7 / 0.03), rel=0.02)
    assert severe.peak_interval.low < severe.peak < severe.peak_interval.high
    assert fit_scaling_law(rounds_of(scaling.LINEAR)).peak_interval.high == math.inf
    assert fit_scaling_law(rounds_of(scaling.SERIAL)).peak == 1


def test_the_band_holds_the_curve() -> None:
    """It is as wide as the scatter of rounds makes it, at every number of agents."""
    fit = fit_scaling_law(rounds_of(scaling.AMDAHL))
    assert (fit.curve[0].agents, fit.curve[-1].agents) == pytest.approx((1, 16))
    for point in fit.curve:
        assert point.low < scaling.AMDAHL.throughput(point.agents) < point.high
        assert point.high / point.low < 1.1


def test_a_knee_is_a_lack_of_fit() -> None:
    """Linear up to 5 agents, then flat: no kind of growth is claimed, and the misfit is where the knee is."""
    fit = fit_scaling_law(rounds_of(scaling.KNEE))
    assert fit.growth is Growth.UNDECIDED
    assert fit.misfit is not None
    assert fit.misfit.agents == 5
    assert fit.misfit.departure_pct > 5


def test_small_departures_widen_the_region_instead() -> None:
    """Two percent at one size are beyond the scatter of exact rounds, but no reason to drop the law."""
    law = scaling.AMDAHL
    exact = {agents: [law.throughput(agents) * factor for factor in (0.9999, 1, 1.0001)] for agents in law.sizes}
    fit = fit_scaling_law(exact | {4: [1.02 * value for value in exact[4]]})
    assert fit.misfit is None
    assert (law.contention, law.coherency) in fit.region
    assert fit.contention_interval.high - fit.contention_interval.low > 0.05


def test_equal_rounds_are_no_division_by_zero() -> None:
    """A scripted clock may give them."""
    fit = fit_scaling_law({agents: [100.0 * agents] * 2 for agents in (1, 2, 4, 8)})
    assert fit.growth is Growth.LINEAR


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        ({1: [1.0, 1.0], 2: [2.0, 2.0], 4: [3.0, 3.0]}, "3 numbers of agents, a law needs 4"),
        ({1: [1.0, 1.0], 2: [2.0, 2.0], 4: [3.0, 3.0], 8: [4.0]}, "8 agents have a single round"),
        ({1: [1.0, 1.0], 2: [2.0, 0.0], 4: [3.0, 3.0], 8: [4.0, 4.0]}, "2 agents have a round without throughput"),
    ],
)
def test_too_few_rounds_for_a_law(rounds: dict[int, list[float]], message: str) -> None:
    """No law is claimed, and the error says what is missing."""
    with pytest.raises(MeasurementError, match=message):
        fit_scaling_law(rounds)


@pytest.mark.parametrize("df", [1, 2, 3])
def test_quantiles_of_f(df: int) -> None:
    """As scipy's."""
    assert f_quantile(df, 20) == pytest.approx(stats.f.ppf(0.95, df, 20), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("law", scaling.LAWS, ids=lambda law: law.name)
def test_it_is_rarely_wrong(law: scaling.Law) -> None:
    """A few of the runs of `make scaling`: regions hold the true law, kinds are right, knees are found."""
    shares = scaling.simulate(law, 60, seed=7)
    if law.knee:
        assert shares.at_knee >= 0.9
    else:
        assert shares.held >= 0.85  # 95 % expected; the seed makes each run the same
        assert shares.right >= 0.85
        assert shares.misfit <= 0.05


def test_a_promise_that_is_not_kept_is_a_fault() -> None:
    """The simulation can fail."""
    poor = scaling.Shares(held=0.92, right=0.89, misfit=0.03, at_knee=0.5)
    assert len(scaling.faults_of(scaling.LINEAR, poor)) == 3
    assert len(scaling.faults_of(scaling.KNEE, poor)) == 1


def test_its_noise_is_as_described() -> None:
    """Skewed rounds have the scatter and the mean of the others."""
    generator = np.random.default_rng(1)
    logs = np.log([scaling.skewed(generator, 4) for _ in range(4000)])
    assert logs.std() == pytest.approx(scaling.SCATTER, rel=0.05)
    assert logs.mean() == pytest.approx(0, abs=0.001)
