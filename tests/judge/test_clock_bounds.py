"""What the clocks of several hosts leave open, and the verdicts that allow for it."""

import random
from dataclasses import replace

import pytest

from pytest_llmperf.judge.clock_bounds import clock_error, with_clock_error
from pytest_llmperf.judge.gates.evaluate import judge, judge_values
from pytest_llmperf.judge.gates.incumbent import judge_against
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.model import AgentRun, Bound, Measurement, Outcome
from tests.judge.build import MS, gate, measurement_of, round_of

BOUND_NS = 20 * MS
MOVED = ("efficiency_pct", "speedup", "scaling_efficiency_pct", "scaling_speedup", "makespan_s", "slowdown")
EXACT = ("ttft_ms", "ttft_ratio", "itl_ms", "tpot_ms", "e2e_ms", "queue_ms", "decode_tok_s", "contention_rate_ttft")


def measured(*together_ms: tuple[float, float], bound_ns: int | None = BOUND_NS) -> Measurement:
    """Rounds of two agents that take 2 s alone."""
    rounds = [round_of((2000, 2000), each, index=index) for index, each in enumerate(together_ms)]
    return measurement_of(*(replace(round_, clock_bound_ns=bound_ns) for round_ in rounds))


def off_by(run: AgentRun, error_ns: int) -> AgentRun:
    """The run as another clock would have timed it: all of it later, against the barrier."""
    (request,) = run.requests
    later = replace(
        request,
        sent_ns=request.sent_ns + error_ns,
        done_ns=request.done_ns + error_ns,
        arrivals_ns=tuple(arrival_ns + error_ns for arrival_ns in request.arrivals_ns),
    )
    return replace(run, requests=(later,))


@pytest.mark.parametrize("metric", MOVED)
def test_the_error_covers_every_offset_within_the_bound(metric: str) -> None:
    """Clocks that are off by up to the bound move a value by no more than the stated error; some by half of that."""
    draw, truth, largest = random.Random(20), measured((2000, 4000)), 0.0
    (round_,) = truth.rounds
    allowed = clock_error(truth, metric)
    for _ in range(300):
        errors_ns = [draw.choice((-BOUND_NS, BOUND_NS, draw.randint(-BOUND_NS, BOUND_NS))) for _ in round_.together]
        runs = tuple(map(off_by, round_.together, errors_ns))
        (seen,), (true,) = (series(each, metric) for each in (measurement_of(replace(round_, together=runs)), truth))
        largest = max(largest, abs(seen - true))
    assert allowed / 3 < largest <= allowed * 1.02  # the bound's share of what was seen, not of what is true


@pytest.mark.parametrize("metric", EXACT)
def test_times_of_one_host_are_exact(metric: str) -> None:
    """A figure measured by one host has no clock error, nor has any figure if all agents ran on one host."""
    assert clock_error(measured((2000, 2400)), metric) == 0
    assert clock_error(measured((2000, 2400), bound_ns=None), "makespan_s") == 0
    assert clock_error(measured((2000, 2400)), "makespan_s") == BOUND_NS / 1e9


@pytest.mark.parametrize(("bound", "limit", "outcome"), [(Bound.MAX, 2.5, "pass"), (Bound.MIN, 2.5, "fail")])
def test_an_interval_is_wider_by_the_bound(bound: Bound, limit: float, outcome: str) -> None:
    """A makespan far from its limit is decided as ever, with an interval that is wider by the bound at each end."""
    limited = gate("makespan_s", limit, bound)
    rounds = ((2000, 2001), (2000, 2002), (2000, 2003), (2000, 2004), (2000, 2006))
    exact, charged = (judge(limited, measured(*rounds, bound_ns=ns), looks=1) for ns in (None, BOUND_NS))
    assert exact.outcome == charged.outcome == outcome
    assert (charged.low, charged.high) == (pytest.approx(exact.low - 0.02), pytest.approx(exact.high + 0.02))
    assert charged.value == exact.value
    assert charged.reason == f"{exact.reason}; the clocks of the hosts may move each value by 0.02 s"


@pytest.mark.parametrize(("bound", "outcome"), [(Bound.MAX, Outcome.PASS), (Bound.MIN, Outcome.FAIL)])
def test_a_limit_within_the_bound_is_undecided(bound: Bound, outcome: Outcome) -> None:
    """Exact clocks would decide it."""
    limited = gate("makespan_s", 2.015, bound)
    rounds = ((2000, 2001), (2000, 2002), (2000, 2003), (2000, 2004), (2000, 2006))
    assert judge(limited, measured(*rounds, bound_ns=None), looks=1).outcome is outcome
    verdict = judge(limited, measured(*rounds), looks=1)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason.endswith(f"by 0.02 s, which leaves open whether this is a {outcome}")


def test_a_balance_is_never_above_its_ceiling() -> None:
    """However uncertain the clocks are, 100 % is the maximum; the value is the measured value."""
    verdict = judge(gate(), measured(*[(2000, 2000)] * 5), looks=1)
    assert (verdict.outcome, verdict.value, verdict.high) == (Outcome.PASS, 100, 100)
    assert 97.5 < verdict.low < 98


def test_a_change_is_charged_on_both_sides() -> None:
    """What it is compared with was measured with clocks like these: twice the error, stored or taking turns."""
    regression = gate("makespan_s", 2.0, Bound.MAX, delta=5.0, reference=((2.0, 2.001, 2.0, 2.002),) * 4)
    slower = [(2000, 2039 + index) for index in range(5)]  # by 2 %
    assert judge(regression, measured(*slower, bound_ns=None), looks=1).outcome is Outcome.PASS
    assert judge(regression, measured(*slower, bound_ns=5 * MS), looks=1).outcome is Outcome.PASS
    assert judge(regression, measured(*slower, bound_ns=40 * MS), looks=1).outcome is Outcome.INCONCLUSIVE
    against = gate("makespan_s", 0.0, Bound.MAX, delta=5.0, incumbent="old")
    new, before = measured(*slower, bound_ns=None), [(2000, 2000 + index) for index in range(5)]
    for bound_ns, outcome in ((None, Outcome.PASS), (40 * MS, Outcome.INCONCLUSIVE)):
        assert judge_against(against, new, measured(*before, bound_ns=bound_ns), looks=1).outcome is outcome


def test_a_spread_is_charged_towards_and_away_from_the_mean() -> None:
    """Errors of different rounds need not be the same: they may hide a spread, or make one up."""
    values = (90.0, 92.0, 88.0, 91.0, 89.0)
    limited = gate("efficiency_pct_cv_pct", 5.0, Bound.MAX)

    def judged(possible: object) -> object:
        return judge_values(limited, possible, looks=1)

    exact = judged(values)
    charged = with_clock_error(judged, limited, values, 1.0)
    assert charged.low < exact.low < exact.high < charged.high
