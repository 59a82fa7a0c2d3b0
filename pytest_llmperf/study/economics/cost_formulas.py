"""Formulas of the report's appendix G: capacity, hours of work, break-even, total cost."""

from __future__ import annotations

import math

from pytest_llmperf.judge.metrics.formulas import S_PER_HOUR, check_positive


def break_even_months(*, migration_cost_usd: float, monthly_savings_usd: float) -> float:
    """Months until savings cover a migration; infinite if nothing is saved. Source: the report, A.9, G.3."""
    return migration_cost_usd / monthly_savings_usd if monthly_savings_usd > 0 else math.inf


def requests_per_hour(*, ttft_ms: float, tokens: float, tok_s: float) -> float:
    """Sequential requests per hour, `3600 / (ttft + tokens / tok_s)`. Source: the report, G.1 (724.6 and 556.4).

    Raises:
        MeasurementError: the rate is not positive, or a request would take no time.
    """
    check_positive("requests_per_hour", tok_s=tok_s)
    seconds = ttft_ms / 1000 + tokens / tok_s
    check_positive("requests_per_hour", seconds=seconds)
    return S_PER_HOUR / seconds


def effective_tok_s(*, agents: int, tok_s: float, efficiency_pct: float) -> float:
    """Throughput of N agents together, tok/s, `N * tok_s * efficiency`. Source: the report, G.2 (225.1 and 190.3)."""
    return agents * tok_s * efficiency_pct / 100


def hours_per_month(*, requests_per_month: float, requests_per_hour: float) -> float:
    """Machine hours per month for a number of requests. Source: the report, G.3 (1,797.3 and 1,380.4).

    Raises:
        MeasurementError: the capacity is not positive.
    """
    check_positive("hours_per_month", requests_per_hour=requests_per_hour)
    return requests_per_month / requests_per_hour


def tco_usd(*, years: float, monthly_cost_usd: float, one_time_usd: float) -> float:
    """Total cost of ownership, USD: one-time cost plus the monthly cost over the years.

    Raises:
        MeasurementError: the years are not positive.

    Source: the report, 7.3.
    """
    check_positive("tco_usd", years=years)
    return one_time_usd + monthly_cost_usd * 12 * years
