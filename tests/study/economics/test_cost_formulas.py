"""Formulas of the report's appendix G, by its worked examples."""

import math

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.study.economics import cost_formulas


def test_figures_of_the_report() -> None:
    """The worked examples of A.9, G.1, G.2 and G.3."""
    assert round(cost_formulas.break_even_months(migration_cost_usd=5000, monthly_savings_usd=208.45), 1) == 24.0
    assert math.isinf(cost_formulas.break_even_months(migration_cost_usd=5000, monthly_savings_usd=0))
    assert round(cost_formulas.requests_per_hour(ttft_ms=603, tokens=500, tok_s=114.54), 1) == 724.6
    assert round(cost_formulas.requests_per_hour(ttft_ms=1437, tokens=500, tok_s=99.34), 1) == 556.4
    assert round(cost_formulas.effective_tok_s(agents=2, tok_s=114.54, efficiency_pct=98.28), 1) == 225.1
    assert round(cost_formulas.effective_tok_s(agents=2, tok_s=99.34, efficiency_pct=95.8), 1) == 190.3
    assert cost_formulas.tco_usd(years=5, monthly_cost_usd=160, one_time_usd=11000) == 20600


@pytest.mark.parametrize(
    "figure",
    [
        lambda bad: cost_formulas.requests_per_hour(ttft_ms=1, tokens=1, tok_s=bad),
        lambda bad: cost_formulas.tco_usd(years=bad, monthly_cost_usd=1, one_time_usd=1),
    ],
)
@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf])
def test_figures_refuse_inputs_without_meaning(figure, bad: float) -> None:
    """Zero, negative, NaN and infinite divisors are errors that name figure and input."""
    with pytest.raises(MeasurementError, match=r"is undefined: \w+ is"):
        figure(bad)


def test_a_request_without_time_has_no_rate_an_hour() -> None:
    """No tokens and no TTFT would be infinitely many requests."""
    with pytest.raises(MeasurementError, match="seconds is 0"):
        cost_formulas.requests_per_hour(ttft_ms=0, tokens=0, tok_s=1)
