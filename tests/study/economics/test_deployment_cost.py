"""The worked examples of the report's appendix G by hand, and economies of measured rounds."""

import math

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.model import Prices
from pytest_llmperf.study.economics import cost_formulas
from pytest_llmperf.study.economics.deployment_cost import Economy, economy_of, priced, saving
from tests.judge.build import MS, measurement_of, round_of

G3 = Prices(usd_per_hour=0.5, requests_per_month=1_000_000, tokens_per_request=500, migration_usd=5000, years=5)


def economy(**figures) -> Economy:
    """An economy of 500-token answers with these figures."""
    plain = {"agents": 1, "tokens_per_request": 500.0, "system_tok_s": 1.0, "report_tok_s": None}
    return Economy(**{**plain, **figures})


def test_capacity_of_the_report() -> None:
    """G.1: 724.6 requests an hour against 556.4, 30.2 % more; the report's 724.4 is rounded on the way."""
    rust = cost_formulas.requests_per_hour(ttft_ms=603, tokens=500, tok_s=114.54)
    python = cost_formulas.requests_per_hour(ttft_ms=1437, tokens=500, tok_s=99.34)
    assert (round(rust, 1), round(python, 1)) == (724.6, 556.4)
    assert round(100 * (rust / python - 1), 1) == 30.2


def test_break_even_of_the_report() -> None:
    """G.3: 1,797.3 hours against 1,380.4, 208.45 USD a month, 5,000 USD paid for in 24.0 months; and five years of it.

    With the report's own capacities. Its other break-even figures (12.7 and 20 months) are not of these inputs.
    """
    python = priced(economy(requests_per_hour=556.4), G3)
    rust = priced(economy(requests_per_hour=724.4), G3)
    assert python.hours_per_month == pytest.approx(1797.3, abs=0.05)
    assert rust.hours_per_month == pytest.approx(1380.4, abs=0.1)
    assert (python.machines, rust.machines) == (3, 2)
    saved = saving(python, rust, G3)
    assert saved.monthly_usd == pytest.approx(208.4, abs=0.1)
    assert saved.break_even_months == pytest.approx(24.0, abs=0.05)
    assert saved.tco_usd == pytest.approx(60 * 208.4 - 5000, abs=10)
    assert python.tco_usd - rust.tco_usd == pytest.approx(saved.tco_usd + 5000)
    assert saved.capacity_pct == pytest.approx(30.2, abs=0.05)


@pytest.mark.parametrize(
    ("cost_usd", "monthly_usd", "months"), [(5000, 3040 / 12, 19.7), (11000, 640, 17.2), (14000, 253, 55.3)]
)
def test_other_break_evens_of_the_report_by_the_formula(cost_usd: float, monthly_usd: float, months: float) -> None:
    """A.9's "approximately 20" holds; 7.4's 12.7 and "20+" months are not what its own inputs give: 17.2 and 55.3."""
    months_ = cost_formulas.break_even_months(migration_cost_usd=cost_usd, monthly_savings_usd=monthly_usd)
    assert months_ == pytest.approx(months, abs=0.05)


def test_contention_of_the_report() -> None:
    """G.4: 225.1 against 188.3 tok/s, 36.8 lost, which are 16.36 % (the report cuts it)."""
    dual = cost_formulas.effective_tok_s(agents=2, tok_s=114.54, efficiency_pct=98.28)
    single = cost_formulas.effective_tok_s(agents=2, tok_s=114.54, efficiency_pct=82.2)
    assert (round(dual, 1), round(single, 1), round(dual - single, 1)) == (225.1, 188.3, 36.8)
    assert 100 * (1 - single / dual) == pytest.approx(16.36, abs=0.005)


SERVER = {"total_duration_ns": 100 * MS, "load_duration_ns": 10 * MS, "prompt_eval_duration_ns": 10 * MS}


def test_what_was_measured() -> None:
    """Two agents of 10 tokens in 0.1 s: 200 tok/s and 72,000 requests an hour; 0.36 USD an hour are 0.5 USD/1M.

    Alone each decodes 10 tokens in 50 ms: 400 tok/s by the report's formula, which sees no slowing down.
    """
    measurement = measurement_of(round_of((60, 60), (100, 100)))
    measured = economy_of(measurement, Prices(usd_per_hour=0.36))
    assert measured == Economy(
        agents=2,
        tokens_per_request=10.0,
        system_tok_s=pytest.approx(200),
        report_tok_s=pytest.approx(400),
        requests_per_hour=pytest.approx(72_000),
        usd_per_1m_tokens=pytest.approx(0.5),
    )
    assert economy_of(measurement, None).usd_per_1m_tokens is None
    assert saving(measured, measured, None).monthly_usd is None


def test_longer_answers_take_more_of_the_server() -> None:
    """20 ms before the first token and 5 ms a token: 10 tokens take 70 ms, 20 take 120, so capacity falls by 7/12."""
    measurement = measurement_of(round_of((60, 60), (100, 100), **SERVER))
    measured = economy_of(measurement, Prices(usd_per_hour=1, tokens_per_request=20))
    assert measured.requests_per_hour == pytest.approx(72_000 * 7 / 12)
    silent = measurement_of(round_of((60, 60), (100, 100)))
    with pytest.raises(MeasurementError, match="the server reports no durations"):
        economy_of(silent, Prices(usd_per_hour=1, tokens_per_request=20))


def test_a_single_agent_has_no_balance() -> None:
    """The report's formula for several agents says nothing of one; and no decode times, no rate alone."""
    assert economy_of(measurement_of(round_of((60,), (100,))), None).report_tok_s is None
    with pytest.raises(MeasurementError, match="no decode times"):
        economy_of(measurement_of(round_of((60, 60), (100, 100), solo={"decode_ms": 0})), None)


def test_savings_need_requests_of_one_length() -> None:
    """500 tokens against 400 are no saving."""
    with pytest.raises(MeasurementError, match="500 and of 400 tokens"):
        saving(economy(requests_per_hour=1.0), economy(requests_per_hour=1.0, tokens_per_request=400.0), G3)


def test_nothing_saved_is_never_paid_for() -> None:
    """A dearer deployment breaks even never, and its total cost is higher."""
    saved = saving(priced(economy(requests_per_hour=10.0), G3), priced(economy(requests_per_hour=9.0), G3), G3)
    assert math.isinf(saved.break_even_months)
    assert saved.tco_usd < 0


def test_prices_that_make_no_sense() -> None:
    """Every fault at once."""
    with pytest.raises(
        ValueError, match="usd_per_hour = 0, wanted a number above 0; years = -1, wanted a number above"
    ):
        Prices(usd_per_hour=0, years=-1)
    with pytest.raises(ValueError, match="migration_usd = nan, wanted 0 or more"):
        Prices(usd_per_hour=1, migration_usd=math.nan)
