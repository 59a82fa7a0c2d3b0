"""The spread between stored sessions in the verdicts of limit gates."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.whole_runs import FAIL, PASS, judge_limit
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.regression.session_spread import SessionSpread, spread_of
from pytest_llmperf.judge.stats.summary import Aggregate
from pytest_llmperf.model import Bound, Outcome
from tests.judge.build import gate

ROUNDS = (97.0, 98.5, 97.5, 98.0, 98.2)
APART = tuple(tuple(value + shift for value in ROUNDS) for shift in (-3.0, -1.0, 1.0, 3.0))
ALIKE = (ROUNDS,) * 4


@pytest.mark.parametrize("count", [4, 8, 20])
def test_the_margin_is_that_of_student_if_sessions_are_all_that_differ(count: int) -> None:
    """A session without noise is one more draw: Student's t with the sessions' degrees of freedom."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal(count)
    spread = SessionSpread.of(Aggregate.MEAN, [np.repeat(centres[:, None], 3, axis=1)])
    student = stats.t.ppf(0.975, count - 1) * centres.std(ddof=1)
    assert float(spread.widened(np.asarray(0.0), 0.05)) == pytest.approx(student, rel=0.02)


def test_the_margin_is_never_less_than_the_session_s_own() -> None:
    """Sessions that differ less than their rounds explain add nothing; an infinite end stays infinite."""
    spread = spread_of(Aggregate.MEAN, ALIKE, 5)
    assert float(spread.widened(np.asarray(1.5), 0.05)) == pytest.approx(1.5, rel=1e-4)
    assert math.isinf(float(spread.widened(np.asarray(math.inf), 0.05)))


@pytest.mark.parametrize("sessions", [(), APART[:3], ((97.0,), (98.0,), (99.0,), (96.0,))])
def test_a_spread_needs_four_sessions_of_several_rounds(sessions: tuple) -> None:
    """Fewer sessions, or sessions of one round, leave the interval that of the session."""
    assert spread_of(Aggregate.MEAN, sessions, 5) is None
    alone, charged = (judge_values(gate(limit=95.0, reference=ref), ROUNDS, looks=1) for ref in ((), sessions))
    assert (alone.low, alone.high, alone.outcome) == (charged.low, charged.high, charged.outcome)


def test_a_limit_gate_includes_the_spread_and_says_so() -> None:
    """Five rounds that pass by themselves do not pass for a deployment whose sessions differ by points."""
    alone, alike, apart = (judge_values(gate(limit=95.0, reference=ref), ROUNDS, looks=1) for ref in ((), ALIKE, APART))
    assert (alone.outcome, alike.outcome, apart.outcome) == (Outcome.PASS, Outcome.PASS, Outcome.INCONCLUSIVE)
    assert apart.rule == "interval 2"
    assert apart.low < alone.low
    assert "includes the spread between 4 stored sessions, about 2.6 pp" in apart.reason
    assert apart.rounds_needed is None
    assert "more rounds cannot decide this: sessions differ" in apart.reason
    assert "spread" not in alone.reason


def test_rates_differ_by_the_same_percentage_at_any_level() -> None:
    """Stored sessions ten times as fast charge a tenth of their spread."""
    fast = tuple(tuple(10 * value for value in stored) for stored in APART)
    verdicts = [
        judge_values(gate("decode_tok_s", limit=60.0, bound=Bound.MIN, reference=ref), ROUNDS, looks=1)
        for ref in (APART, fast)
    ]
    assert verdicts[0].low == pytest.approx(verdicts[1].low)
    assert verdicts[0].low < judge_values(gate("decode_tok_s", limit=60.0, bound=Bound.MIN), ROUNDS, looks=1).low


def test_equal_rounds_on_the_limit_pass_only_if_sessions_agree() -> None:
    """100 % in every round meets a limit of 100 %, unless other sessions were elsewhere."""
    perfect = (100.0,) * 5
    apart = tuple((value,) * 5 for value in (100.0, 97.0, 99.0, 98.0))
    outcomes = [
        judge_values(gate(limit=100.0, reference=ref), perfect, looks=1).outcome for ref in ((), (perfect,) * 4, apart)
    ]
    assert outcomes == [Outcome.PASS, Outcome.PASS, Outcome.INCONCLUSIVE]


def test_simulated_deployments_whose_sessions_differ() -> None:
    """With the true mean on the limit, both errors fall from above 20 % to the promise (4 standard errors forgiven)."""
    rng, runs, sd = np.random.default_rng(2), 300, 1.21
    values = 90 + sd * rng.standard_normal((runs, 1)) + sd * rng.standard_normal((runs, 20))
    stored = 95 + sd * rng.standard_normal((runs, 20, 1)) + sd * rng.standard_normal((runs, 20, 5))
    shape = metric_of("efficiency_pct").shape
    (before, _), (after, _) = judge_limit(values, 90.0, shape), judge_limit(values, 90.0, shape, stored)
    for code in (PASS, FAIL):
        assert (before == code).mean() > 0.15
        assert (after == code).mean() <= 0.025 + 4 * 0.009
