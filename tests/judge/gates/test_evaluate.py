"""Every outcome of every kind of gate."""

import math
import re
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.gates.evaluate import judge, judge_values, merge_looks, rounds_may_decide
from pytest_llmperf.model import Bound, Outcome
from tests.judge.build import gate, measurement_of, round_of

GOOD = (98.0, 98.5, 98.2, 98.4, 98.1)
REGRESSION = {"metric": "efficiency_pct", "limit": 98.2, "delta": 5.0, "reference": (GOOD,)}
CONTENTION = gate("contention_rate_ttft", 0.01, Bound.MAX)


@pytest.mark.parametrize(
    ("values", "outcome", "text"),
    [
        (GOOD, Outcome.PASS, "meets the minimum 95 %"),
        ((90.0, 90.5, 90.2, 90.4, 90.1), Outcome.FAIL, "is below the minimum 95 %"),
        ((93.0, 98.0, 95.0, 97.0, 94.0), Outcome.INCONCLUSIVE, "rounds would be needed"),
        ((94.0, 96.0, 95.0), Outcome.INCONCLUSIVE, "too near the limit"),
    ],
)
def test_a_minimum(values: tuple[float, ...], outcome: Outcome, text: str) -> None:
    """The whole interval above, below, or the limit within."""
    verdict = judge_values(gate(), values, looks=16)
    assert verdict.outcome is outcome
    assert text in verdict.reason
    assert verdict.low <= verdict.value <= verdict.high <= 100
    assert (verdict.confidence_pct, verdict.rounds) == (95.0, len(values))


@pytest.mark.parametrize(
    ("limit", "outcome"), [(100.0, Outcome.PASS), (30.0, Outcome.FAIL), (43.0, Outcome.INCONCLUSIVE)]
)
def test_a_maximum(limit: float, outcome: Outcome) -> None:
    """Mirrored, on the median of the worst TTFT."""
    verdict = judge_values(gate("ttft_ms", limit, Bound.MAX), (42.0, 40.0, 44.0, 41.0, 45.0), looks=16)
    assert verdict.outcome is outcome
    assert verdict.value == 42


@given(st.lists(st.floats(1, 100), min_size=3, max_size=20), st.floats(1, 100), st.integers(1, 20))
def test_a_minimum_and_its_mirror_agree(values: list[float], limit: float, looks: int) -> None:
    """What passes as a minimum of the metric fails or passes as a maximum exactly where the interval says so."""
    low = judge_values(gate("system_tok_s", limit), values, looks=looks)
    high = judge_values(gate("system_tok_s", limit, Bound.MAX), values, looks=looks)
    assert (low.outcome is Outcome.PASS) == (low.low >= limit)
    assert (low.outcome is Outcome.FAIL) == (low.high < limit)
    assert (high.outcome is Outcome.PASS) == (high.high <= limit)
    assert (high.outcome is Outcome.FAIL) == (high.low > limit)


@pytest.mark.parametrize("metric", ["efficiency_pct", "contention_rate_ttft", "efficiency_pct_cv_pct"])
@pytest.mark.parametrize("rounds", [1, 2])
def test_fewer_than_three_rounds_decide_nothing(metric: str, rounds: int) -> None:
    """However good they look, and however bad."""
    for limit in (0.0, 99.0):
        for bound in Bound:
            verdict = judge_values(gate(metric, limit, bound), (1.0,) * rounds, looks=1)
            assert verdict.outcome is Outcome.INCONCLUSIVE
            assert "at least 3" in verdict.reason
            assert verdict.grade == "exploratory"


def test_contention_passes_by_the_seeds_criterion() -> None:
    """0 of 5 at 1 %: E.1 #7 asks for no more, and the reason says what that excludes."""
    verdict = judge_values(CONTENTION, (0.0,) * 5, looks=1)
    assert verdict.outcome is Outcome.PASS
    assert verdict.reason == "0 of 5 rounds contended; rates above 45 % are excluded (one-sided)"
    assert (verdict.value, verdict.low) == (0, 0)


def test_contention_fails_only_beyond_doubt() -> None:
    """1 of 5 may be luck at 1 %; 5 of 5 is not."""
    once = judge_values(CONTENTION, (1.0, 0, 0, 0, 0), looks=16)
    assert once.outcome is Outcome.INCONCLUSIVE
    assert "1 of 5 rounds contended, the maximum is 1 %; about" in once.reason
    always = judge_values(CONTENTION, (1.0,) * 5, looks=16)
    assert always.outcome is Outcome.FAIL
    assert "significantly more than the maximum" in always.reason


def test_contention_counts_allowed_rounds_exactly() -> None:
    """29 of 100 at 0.29 passes although 0.29 * 100 is 28.99... in floats; all of all at 1.0 passes."""
    values = (1.0,) * 29 + (0.0,) * 71
    assert judge_values(replace(CONTENTION, limit=0.29), values, looks=1).outcome is Outcome.PASS
    assert judge_values(replace(CONTENTION, limit=0.28), values, looks=1).outcome is Outcome.INCONCLUSIVE
    assert judge_values(replace(CONTENTION, limit=1.0), (1.0,) * 3, looks=1).outcome is Outcome.PASS
    early = judge_values(replace(CONTENTION, limit=0.29), values, looks=16, last=False)
    assert early.outcome is Outcome.INCONCLUSIVE
    assert "running more rounds" in early.reason


def test_a_rate_of_something_else_is_invalid() -> None:
    """A contention gate counts 0 and 1, nothing between."""
    assert judge_values(CONTENTION, (0.5,) * 5, looks=1).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ((100.0, 100.1, 99.9, 100.0, 100.1), Outcome.PASS),
        ((100.0, 5.0, 200.0, 40.0, 90.0, 1.0, 150.0, 3.0), Outcome.FAIL),
        ((100.0, 104.0, 96.0, 103.0, 97.0), Outcome.INCONCLUSIVE),
    ],
)
def test_consistency(values: tuple[float, ...], outcome: Outcome) -> None:
    """The CV of decode rates against 5 % (A.4); an end of its interval that is infinite is left out."""
    verdict = judge_values(gate("decode_tok_s_cv_pct", 5.0, Bound.MAX), values, looks=16)
    assert verdict.outcome is outcome
    assert verdict.high is None or math.isfinite(verdict.high)


def test_consistency_of_one_round_or_of_nothing() -> None:
    """One round has no CV; rates of 0 have none either, which is invalid."""
    assert judge_values(gate("decode_tok_s_cv_pct", 5.0, Bound.MAX), (3.0,), looks=1).value is None
    assert judge_values(gate("decode_tok_s_cv_pct", 5.0, Bound.MAX), (0.0,) * 5, looks=1).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        (GOOD * 2, Outcome.PASS),
        (tuple(value + 3 for value in GOOD), Outcome.PASS),
        (tuple(value - 20 for value in GOOD), Outcome.FAIL),
        (tuple(value - 4 for value in GOOD), Outcome.INCONCLUSIVE),
        (tuple(value - 6 * (i % 2) for i, value in enumerate(GOOD)), Outcome.INCONCLUSIVE),
    ],
)
def test_regression_in_points(values: tuple[float, ...], outcome: Outcome) -> None:
    """Nothing lost, gained, a lot lost, perhaps lost, too noisy to say."""
    verdict = judge_values(gate(**REGRESSION), values, looks=16)
    assert verdict.outcome is outcome
    of_delta = {
        Outcome.PASS: "a loss of 5 pp or more is excluded",
        Outcome.FAIL: "more than noise explains; delta is 5 pp",
        Outcome.INCONCLUSIVE: "a loss of 5 pp or more is not excluded",
    }
    assert of_delta[outcome] in verdict.reason
    assert "save 3 more" in verdict.reason


def test_regression_in_percent_of_what_less_is_better() -> None:
    """TTFT from 100 to 200 ms is 100 % worse; to 50 ms it is better and passes."""
    stored = (100.0, 101.0, 99.0, 100.0, 100.0)
    slower = gate("ttft_ms", 100.0, Bound.MAX, delta=20.0, reference=(stored,))
    verdict = judge_values(slower, tuple(2 * value for value in stored), looks=16)
    assert verdict.outcome is Outcome.FAIL
    assert "worse by 100.0 %" in verdict.reason
    assert judge_values(slower, tuple(value / 2 for value in stored), looks=16).outcome is Outcome.PASS


def test_between_no_drop_and_delta_the_nearer_wins() -> None:
    """A drop that is known to a tenth of a point: below half of delta it passes, above it fails; both are right."""
    tight = tuple((98.2, 98.3, 98.1, 98.2) for _ in range(6))
    known = {**REGRESSION, "reference": tight}
    assert judge_values(gate(**known), (97.2, 97.3, 97.1, 97.2), looks=1).outcome is Outcome.PASS
    assert judge_values(gate(**known), (94.2, 94.3, 94.1, 94.2), looks=1).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("changes", "outcome", "text"),
    [
        ({"reference": ((98.0,),)}, Outcome.INCONCLUSIVE, "one round each"),
        ({"reference": ()}, Outcome.INVALID, "no session"),
        ({"reference": ((98.0, math.nan),)}, Outcome.INVALID, "nan"),
        ({"reference": (GOOD, ())}, Outcome.INVALID, "no round"),
        ({"metric": "system_tok_s", "limit": 0.0}, Outcome.INVALID, "centre is 0"),
    ],
)
def test_a_reference_that_cannot_serve(changes: dict, outcome: Outcome, text: str) -> None:
    """Never a pass: inconclusive where rounds are missing, invalid where values are broken."""
    verdict = judge_values(gate(**{**REGRESSION, **changes}), GOOD, looks=1)
    assert verdict.outcome is outcome
    assert text in verdict.reason


def test_a_rate_has_no_regression_gate() -> None:
    """Percent of no contention mean nothing: the contention marker judges rates."""
    with pytest.raises(UsageError, match="no regression gate"):
        judge_values(
            gate("contention_rate_ttft", 0.0, Bound.MAX, delta=1.0, reference=((0.0,) * 5,)), (0.0,) * 5, looks=1
        )


def test_verdicts_say_what_their_evidence_was_worth() -> None:
    """A healthy run, a broken one and an undecided one: errors, effect, power, what would be needed."""
    sessions = tuple(tuple(value + shift for value in GOOD) for shift in (0, 0.3, -0.3, 0.1, -0.1, 0.2))
    asked = gate(**{**REGRESSION, "delta": 2.0, "reference": sessions})
    healthy = judge_values(asked, GOOD, looks=16)
    assert healthy.outcome is Outcome.PASS
    assert healthy.error_of_pass <= 0.02
    assert healthy.error_of_fail > 0.1
    assert healthy.power_pct > 90
    assert (healthy.rounds_needed, healthy.sessions_needed) == (None, None)
    broken = judge_values(asked, tuple(value - 3 for value in GOOD), looks=16)
    assert broken.outcome is Outcome.FAIL
    assert broken.error_of_fail <= 0.007
    assert broken.effect_size < -5
    spread = tuple(tuple(value + shift for value in GOOD) for shift in (0, 1, -1, 0.5))
    undecided = judge_values(gate(**{**REGRESSION, "delta": 2.0, "reference": spread}), GOOD, looks=16)
    assert undecided.outcome is Outcome.INCONCLUSIVE
    assert undecided.sessions_needed > 4
    assert f"{undecided.sessions_needed} stored sessions" in undecided.reason
    assert undecided.power_pct < 50


def test_verdicts_name_their_rule() -> None:
    """Stored sessions, pairs and each kind of limit have one, with a version; what was not judged has none."""
    asked = gate(**{**REGRESSION, "delta": 2.0})
    assert re.fullmatch(r"stored \d+", judge_values(asked, GOOD, looks=16).rule)
    assert re.fullmatch(r"pairs \d+", judge_values(asked, GOOD, looks=16, incumbent=GOOD).rule)
    assert re.fullmatch(r"interval \d+", judge_values(gate(), GOOD, looks=16).rule)
    contended = gate("contention_rate_ttft", 0.2, Bound.MAX)
    assert re.fullmatch(r"share \d+", judge_values(contended, [0.0] * 5, looks=16).rule)
    memory = gate("vram_gib", 100.0, Bound.MAX)
    assert re.fullmatch(r"maximum \d+", judge_values(memory, [90.0] * 5, looks=16).rule)
    away = gate(**{**REGRESSION, "delta": 2.0, "not_comparable": "cpu"})
    assert judge_values(away, GOOD, looks=16).rule == ""


def test_a_regression_gate_keeps_its_first_decision() -> None:
    """However later looks turn out that another gate asks for; a limit gate takes them, and invalid is invalid."""
    tight = tuple(tuple(value + shift for value in GOOD) for shift in (0, 0.1, -0.1, 0.05, -0.05))
    asked = gate(**{**REGRESSION, "delta": 2.0, "reference": tight})
    passed, failed = (
        judge_values(asked, tuple(value - loss for value in GOOD), looks=16, last=False) for loss in (0, 5)
    )
    torn = judge_values(asked, (*GOOD, math.nan), looks=16)
    undecided = judge_values(asked, (90.0, 106.0, 91.0, 105.0, 98.0), looks=16, last=False)
    assert [verdict.outcome for verdict in (passed, failed, undecided)] == [
        Outcome.PASS,
        Outcome.FAIL,
        Outcome.INCONCLUSIVE,
    ]
    assert merge_looks(passed, failed) is passed
    assert merge_looks(failed, passed) is failed
    assert merge_looks(failed, undecided) is failed
    assert merge_looks(undecided, failed) is failed
    assert merge_looks(passed, torn) is torn
    high, low = (judge_values(gate(limit=limit), GOOD, looks=16) for limit in (90.0, 99.9))
    assert merge_looks(high, low) is low


def test_rounds_are_not_wasted_on_a_young_baseline() -> None:
    """One stored session and no great change: no number of rounds decides; nor is that asked of what is decided."""
    young = {**REGRESSION, "delta": 2.0}
    undecided = judge_values(gate(**young), tuple(value - 0.5 for value in GOOD), looks=16)
    assert (undecided.outcome, undecided.rounds_needed, undecided.sessions_needed) == (Outcome.INCONCLUSIVE, None, 4)
    assert not rounds_may_decide(undecided)
    assert rounds_may_decide(judge_values(gate(**young), tuple(value - 4.4 for value in GOOD), looks=16, last=False))
    assert not rounds_may_decide(judge_values(gate(**young), tuple(value - 9 for value in GOOD), looks=16))
    assert rounds_may_decide(judge_values(gate(**young), GOOD[:2], looks=16))
    assert rounds_may_decide(judge_values(gate(), (93.0, 98.0, 95.0, 97.0, 94.0), looks=16))


def test_an_incumbent_that_took_turns() -> None:
    """Pairs are judged by their differences, without stored sessions; unequal numbers are invalid, one pair too few."""
    asked = gate(limit=0.0, delta=2.0)
    incumbent = (98.0, 95.0, 99.0, 92.0, 97.0)
    worse = tuple(old - loss for old, loss in zip(incumbent, (2.9, 3.2, 3.0, 3.1, 2.8), strict=True))
    failed = judge_values(asked, worse, looks=16, incumbent=incumbent)
    assert failed.outcome is Outcome.FAIL
    assert "worse by 3.0 pp (95 % CI 2.7 to 3.2), the mean of 5 pairs" in failed.reason
    assert failed.sessions_needed is None
    alike = tuple(value + 0.1 * (-1) ** index for index, value in enumerate(incumbent))
    same = judge_values(asked, alike, looks=16, incumbent=incumbent)
    assert same.outcome is Outcome.PASS
    noisy = judge_values(asked, (92.0, 99.0, 93.0, 98.0, 96.0), looks=16, incumbent=incumbent)
    assert noisy.outcome is Outcome.INCONCLUSIVE
    assert f"about {noisy.rounds_needed} rounds would decide it" in noisy.reason
    wild = judge_values(asked, (400.0, -300.0, 300.0, -200.0, 290.0), looks=16, incumbent=incumbent)
    assert "more than 1000 rounds would be needed" in wild.reason
    assert judge_values(asked, worse, looks=16, incumbent=incumbent[:4]).outcome is Outcome.INVALID
    assert "at least 3" in judge_values(asked, worse[:1], looks=16, incumbent=incumbent[:1]).reason


def test_limit_gates_say_what_their_evidence_was_worth() -> None:
    """Distance in standard deviations, the power for 2 points, the rounds that would do; nothing for a rate."""
    kept = judge_values(gate(), GOOD, looks=16)
    assert kept.effect_size == pytest.approx((98.24 - 95) / 0.2073644)
    assert kept.power_pct > 99
    near = judge_values(gate(), (93.0, 98.0, 95.0, 97.0, 94.0), looks=16)
    assert near.rounds_needed > 5
    assert near.power_pct < 50
    assert near.autocorrelation < 0
    slow = judge_values(gate("ttft_ms", 30.0, Bound.MAX), (42.0, 40.0, 44.0, 41.0, 45.0), looks=16)
    assert slow.effect_size < 0
    equal = judge_values(gate(), (98.0,) * 5, looks=16)
    assert (equal.effect_size, equal.power_pct, equal.autocorrelation) == (None, None, None)
    rate = judge_values(CONTENTION, (0.0,) * 5, looks=16)
    assert (rate.effect_size, rate.power_pct, rate.outliers) == (None, None, ())


def test_outliers_are_named_and_count() -> None:
    """The third round is an outlier; the value is still the mean of all rounds."""
    verdict = judge_values(gate(), (98.0, 98.2, 80.0, 98.1, 98.3), looks=16)
    assert verdict.outliers == (3,)
    assert verdict.value == pytest.approx(94.52)


def test_more_gates_fail_later_and_pass_as_before() -> None:
    """Twenty gates share the error of a fail; a pass is no less sure for having company."""
    tight = tuple(tuple(value + shift for value in GOOD) for shift in (0, 0.6, -0.6, 0.4, -0.4))
    asked = gate(**{**REGRESSION, "delta": 4.0, "reference": tight})
    worse = tuple(value - 2.6 for value in GOOD)
    assert judge_values(asked, worse, looks=16).outcome is Outcome.FAIL
    assert judge_values(asked, worse, looks=16, gates=20).outcome is Outcome.INCONCLUSIVE
    assert judge_values(asked, GOOD, looks=16, gates=20).outcome is Outcome.PASS
    below = (93.9, 94.5, 94.0, 94.4, 94.1)
    assert judge_values(gate(), below, looks=16).outcome is Outcome.FAIL
    shared = judge_values(gate(), below, looks=16, gates=20)
    assert shared.outcome is Outcome.INCONCLUSIVE
    assert "but not significant after correcting for 20 gates" in shared.reason
    assert shared.gates == 20
    with pytest.raises(ValueError, match="gates is 0"):
        judge_values(gate(), GOOD, looks=1, gates=0)


def test_the_hard_floor_needs_evidence() -> None:
    """Five deltas decide nothing if sessions differ by as much; if they do not, no need to wait for the last look."""
    bad = tuple(value - 11 for value in GOOD)
    wild, calm = (
        gate(**{**REGRESSION, "delta": 2.0, "reference": tuple(tuple(v + k * x for v in GOOD) for x in (0, 6, -6, 5))})
        for k in (1, 0.29)
    )
    assert judge_values(wild, bad, looks=16).outcome is Outcome.INCONCLUSIVE
    early = judge_values(calm, bad, looks=16, last=False)
    assert early.outcome is Outcome.FAIL
    assert "a change this large need not wait for the last look" in early.reason
    assert (
        judge_values(calm, tuple(value - 9.5 for value in GOOD), looks=16, last=False).outcome is Outcome.INCONCLUSIVE
    )
    assert judge_values(calm, bad, looks=16, gates=20).outcome is Outcome.INCONCLUSIVE


def test_a_gate_of_another_machine_is_not_comparable() -> None:
    """The value is shown, the keys are the reason; but a broken measurement is invalid first."""
    foreign = gate(not_comparable="gpu: baseline X, here Y")
    verdict = judge_values(foreign, GOOD, looks=1)
    assert (verdict.outcome, verdict.reason) == (Outcome.NOT_COMPARABLE, "gpu: baseline X, here Y")
    assert verdict.value == pytest.approx(98.24)
    assert judge_values(foreign, (98.0,), looks=1).outcome is Outcome.NOT_COMPARABLE
    assert judge_values(foreign, (98.0, math.nan), looks=1).outcome is Outcome.INVALID


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_passes(bad: float) -> None:
    """In a value: invalid. In a limit or a delta: refused."""
    verdict = judge_values(gate(), (*GOOD, bad), looks=1)
    assert verdict.outcome is Outcome.INVALID
    assert (verdict.value, verdict.low, verdict.high) == (None, None, None)
    assert "6 of 6" in verdict.reason
    with pytest.raises(UsageError, match="its limit is"):
        judge_values(gate(limit=bad), GOOD, looks=1)
    with pytest.raises(UsageError, match="its delta is"):
        judge_values(gate(**{**REGRESSION, "delta": bad}), GOOD, looks=1)


def test_no_values_are_invalid() -> None:
    """Nothing measured is nothing judged."""
    assert judge_values(gate(), (), looks=1).outcome is Outcome.INVALID


def test_a_look_is_needed() -> None:
    """Zero looks would be no confidence at all."""
    with pytest.raises(ValueError, match="looks is 0"):
        judge_values(gate(), GOOD, looks=0)


def test_judge_takes_the_metric_from_the_rounds() -> None:
    """Balanced rounds pass; rounds in a queue fail; a round without a value is invalid and says which."""
    even = [round_of((100, 100), (100, 101 + i % 2), index=i) for i in range(5)]
    verdict = judge(gate(), measurement_of(*even), looks=16)
    assert (verdict.outcome, verdict.grade) == (Outcome.PASS, "publishable")
    queued = [round_of((100, 100), (100, 200 + i % 2), index=i) for i in range(5)]
    assert judge(gate(), measurement_of(*queued), looks=16).outcome is Outcome.FAIL
    torn = replace(even[2], together=())
    broken = judge(gate(), measurement_of(*even, torn), looks=16)
    assert (broken.outcome, broken.rounds) == (Outcome.INVALID, 6)
    assert "round 2 has an empty together part" in broken.reason
    with pytest.raises(UsageError, match="unknown metric"):
        judge(gate("nonsense"), measurement_of(*even), looks=1)
    with pytest.raises(UsageError, match="its limit is nan"):
        judge(gate(limit=math.nan), measurement_of(torn), looks=1)


def test_a_comparison_states_what_it_compared() -> None:
    """The centre of as many rounds of each session as are new, and the change from it: limit and words add up."""
    longer = tuple((*stored, *(value - 4 for value in stored)) for stored in REGRESSION["reference"])
    asked = gate(**{**REGRESSION, "reference": longer, "limit": 90.0})
    verdict = judge_values(asked, tuple(value - 0.5 for value in GOOD), looks=16)
    n = len(GOOD)
    assert verdict.gate.limit == pytest.approx(fmean(fmean(stored[:n]) for stored in longer))
    assert verdict.worse_by == pytest.approx(verdict.gate.limit - verdict.value)
    assert verdict.reason.startswith("worse by 0.5 pp")
    same = judge_values(gate(**REGRESSION), GOOD, looks=16)
    assert same.gate.limit == REGRESSION["limit"]
    assert judge_values(gate(), GOOD, looks=16).worse_by is None


def test_a_change_for_the_better_is_called_so() -> None:
    """Never by a negative drop; its interval is in the same direction."""
    incumbent = (98.0, 95.0, 99.0, 92.0, 97.0)
    better = judge_values(
        gate(limit=0.0, delta=2.0),
        tuple(old + gain for old, gain in zip(incumbent, (0.9, 1.2, 1.0, 1.1, 0.8), strict=True)),
        looks=16,
        incumbent=incumbent,
    )
    assert better.worse_by == pytest.approx(-1.0)
    assert re.search(r"better by 1\.0 pp \(95 % CI 0\.\d to 1\.\d\), the mean of 5 pairs", better.reason)
