"""Verdicts on times to first token that only upper bounds made."""

from dataclasses import replace

import pytest

from pytest_llmperf.judge.gates.evaluate import judge
from pytest_llmperf.judge.metrics.series import ttft_ratios
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Bound, Outcome, Round
from pytest_llmperf.report.wording.verdict_text import explain
from tests.judge.build import gate, measurement_of, request, round_of, run

WORDS = "in 3 of 3 rounds an upper bound alone decided the verdict: the first chunk was read together with later ones"


def late(ttft_ms: float = 40, *, merged: bool = True, alone: bool = False) -> Round:
    """A round in which the first agent's TTFT is this, together or alone; all others are 10 ms, and exact."""
    calm = round_of((100, 100), (100, 100))
    runs = (run("x", request(ttft_ms=ttft_ms, first_merged=merged)), run("y", request()))
    return replace(calm, solo=runs) if alone else replace(calm, together=runs)


@pytest.mark.parametrize(("metric", "limit"), [("ttft_ms", 20), ("ttft_ratio", 2), ("contention_rate_ttft", 0.01)])
def test_a_failure_by_upper_bounds_says_so(metric: str, limit: float) -> None:
    """In its reason and in the failure's text; one by exact times does not, nor does a pass."""
    asked = gate(metric, limit, Bound.MAX)
    measurement = measurement_of(late(), late(41), late(42))
    verdict = judge(asked, measurement, looks=1)
    assert verdict.outcome is Outcome.FAIL
    assert f"; {WORDS}" in verdict.reason
    text = explain(Record(test="t", measurement=measurement, verdicts=(verdict,)), (verdict,))
    assert text.count(WORDS) == 1
    exact = judge(asked, measurement_of(late(merged=False), late(41, merged=False), late(42, merged=False)), looks=1)
    assert "upper bound" not in exact.reason
    calm = judge(asked, measurement_of(late(9), late(9), late(9)), looks=1)
    assert (calm.outcome, "upper bound" in calm.reason) == (Outcome.PASS, False)


def test_a_comparison_says_so_once() -> None:
    """The reason is in the gate's line."""
    compared = replace(gate("ttft_ms", 10, Bound.MAX), delta=20.0, reference=((10.0, 10.5, 9.5),))
    measurement = measurement_of(*(late(40 + number) for number in range(5)))
    verdict = judge(compared, measurement, looks=1)
    assert verdict.outcome is Outcome.FAIL
    text = explain(Record(test="t", measurement=measurement, verdicts=(verdict,)), (verdict,))
    assert text.count("an upper bound alone decided the verdict") == 1
    assert "an upper bound alone decided the verdict" in text.splitlines()[0]


def test_rounds_that_fail_by_exact_times_as_well_are_not_counted() -> None:
    """Where another agent's exact TTFT is worse, or contended too, the upper bound decided nothing."""
    worse = replace(late(), together=(late().together[0], run("y", request(ttft_ms=50))))
    measurement = measurement_of(late(), worse, late(15))
    assert "in 2 of 3 rounds" in judge(gate("ttft_ms", 8, Bound.MAX), measurement, looks=1).reason
    contended = judge(gate("contention_rate_ttft", 0.01, Bound.MAX), measurement, looks=1)
    assert "in 1 of 3 rounds" in contended.reason


def test_other_gates_do_not_speak_of_it() -> None:
    """Balance knows nothing of first tokens."""
    verdict = judge(gate("efficiency_pct", 100.1), measurement_of(late(), late(), late()), looks=1)
    assert verdict.outcome is Outcome.FAIL
    assert "upper bound" not in verdict.reason


def test_an_upper_bound_alone_is_no_part_of_the_ratios_base() -> None:
    """It would make the ratio too small and hide contention; it is used only if there is no other value."""
    calm, slow = round_of((100, 100), (100, 100)), late(40, alone=True)
    assert ttft_ratios(measurement_of(calm, slow, slow))[0] == ((1,), (1,))
    assert ttft_ratios(measurement_of(slow, slow))[0] == ((0.25,), (1,))
    exact = late(40, alone=True, merged=False)
    assert ttft_ratios(measurement_of(calm, exact, exact))[0] == ((0.25,), (1,))
