"""Capacity, cost of a million tokens, break-even and total cost of measured deployments, at given prices.

Rates are of all agents together over the wall time. The report's own figure for several agents,
`N * tok_s alone * balance` (G.2), is included for comparison: it ignores how much agents slow each other down.

Source: the report, chapter 7, A.7 to A.9, appendix G.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics import formulas, request_formulas
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.study.economics import cost_formulas

if TYPE_CHECKING:
    from pytest_llmperf.model import Measurement, Prices, RequestTiming


HOURS_PER_MONTH = 730.0
"""8760 hours of a year over 12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Economy:
    """Capacity and cost of a deployment.

    Attributes:
        agents: number of concurrent agents.
        tokens_per_request: length of an answer for the capacity, tokens.
        system_tok_s: all tokens over the wall time, tok/s, mean over rounds.
        report_tok_s: throughput by the report's formula (G.2), tok/s; None for a single agent.
        requests_per_hour: capacity of all agents together.
        usd_per_1m_tokens: cost of the measured work; None without a price, like all below.
        hours_per_month: machine hours for the given demand; None without a demand, like all below.
        machines: the minimum number of machines for these hours, running all year.
        monthly_usd: cost of these hours.
        tco_usd: total cost for the given years, without a migration.
    """

    agents: int
    tokens_per_request: float
    system_tok_s: float
    report_tok_s: float | None
    requests_per_hour: float
    usd_per_1m_tokens: float | None = None
    hours_per_month: float | None = None
    machines: int | None = None
    monthly_usd: float | None = None
    tco_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """The savings of a deployment over another.

    Attributes:
        capacity_pct: additional requests per hour, percent of the other's; negative: fewer.
        monthly_usd: saved per month; None without a demand.
        break_even_months: until a migration breaks even, infinite if nothing is saved; None as above.
        tco_usd: saved over the given years after the migration; None as above.
    """

    capacity_pct: float
    monthly_usd: float | None = None
    break_even_months: float | None = None
    tco_usd: float | None = None


def economy_of(measurement: Measurement, prices: Prices | None) -> Economy:
    """Capacity and cost of a measured deployment.

    If the given length of an answer differs from the measured one, the capacity is scaled by the server's time for a
    request of either length (load and prefill as measured, decode by the token).

    Raises:
        MeasurementError: a figure is undefined for these rounds.
    """
    system_tok_s = fmean(series(measurement, "system_tok_s"))
    requests = [request for round_ in measurement.rounds for run in round_.together for request in run.requests]
    measured = fmean(request.eval_count for request in requests)
    wanted = float(prices.tokens_per_request) if prices and prices.tokens_per_request else measured
    capacity = system_tok_s / measured * formulas.S_PER_HOUR
    if wanted != measured:
        capacity *= _server_requests_per_hour(requests, wanted) / _server_requests_per_hour(requests, measured)
    agents = len(measurement.scenario.agents)
    return priced(
        Economy(
            agents=agents,
            tokens_per_request=wanted,
            system_tok_s=system_tok_s,
            report_tok_s=_report_tok_s(measurement) if agents > 1 else None,
            requests_per_hour=capacity,
        ),
        prices,
    )


def priced(economy: Economy, prices: Prices | None) -> Economy:
    """An economy with its costs; unchanged without prices.

    Raises:
        MeasurementError: a rate is not positive.
    """
    if prices is None:
        return economy
    usd = formulas.cost_per_1m_usd(tok_s=economy.system_tok_s, usd_per_hour=prices.usd_per_hour)
    hours = monthly = tco = machines = None
    if prices.requests_per_month:
        hours = cost_formulas.hours_per_month(
            requests_per_month=prices.requests_per_month, requests_per_hour=economy.requests_per_hour
        )
        machines = math.ceil(hours / HOURS_PER_MONTH)
        monthly = hours * prices.usd_per_hour
        tco = cost_formulas.tco_usd(years=prices.years, monthly_cost_usd=monthly, one_time_usd=0.0)
    return replace(
        economy, usd_per_1m_tokens=usd, hours_per_month=hours, machines=machines, monthly_usd=monthly, tco_usd=tco
    )


def saving(base: Economy, candidate: Economy, prices: Prices | None) -> Saving:
    """The savings of the candidate over the base, at the same prices and answer length.

    Raises:
        MeasurementError: their answers differ in length by more than a tenth, so requests are not the same work.
    """
    if abs(base.tokens_per_request / candidate.tokens_per_request - 1) > 0.1:
        raise MeasurementError(
            f"requests of {base.tokens_per_request:.0f} and of {candidate.tokens_per_request:.0f} tokens cannot be "
            "compared",
            next_step="set tokens_per_request in [prices] of llmperf.toml",
        )
    capacity_pct = 100 * (candidate.requests_per_hour / base.requests_per_hour - 1)
    if prices is None or base.monthly_usd is None or candidate.monthly_usd is None:
        return Saving(capacity_pct=capacity_pct)
    monthly = base.monthly_usd - candidate.monthly_usd
    return Saving(
        capacity_pct=capacity_pct,
        monthly_usd=monthly,
        break_even_months=cost_formulas.break_even_months(
            migration_cost_usd=prices.migration_usd, monthly_savings_usd=monthly
        ),
        tco_usd=monthly * 12 * prices.years - prices.migration_usd,
    )


def _report_tok_s(measurement: Measurement) -> float:
    """G.2: decode throughput alone, times the number of agents, times the balance efficiency."""
    rates = [
        rate
        for round_ in measurement.rounds
        for run in round_.solo
        if (rate := request_formulas.agent_decode_tok_s(run))
    ]
    if not rates:
        raise MeasurementError("the server reports no decode times, so the rate alone is undefined")
    return cost_formulas.effective_tok_s(
        agents=len(measurement.scenario.agents),
        tok_s=fmean(rates),
        efficiency_pct=fmean(series(measurement, "efficiency_pct")),
    )


def _server_requests_per_hour(requests: list[RequestTiming], tokens: float) -> float:
    """Requests of this length that one slot serves in an hour, without any waiting."""
    firsts_ms = [ms for request in requests if (ms := request_formulas.server_ttft_ms(request)) is not None]
    rates = [rate for request in requests if (rate := request_formulas.decode_tok_s(request)) is not None]
    if not firsts_ms or not rates:
        raise MeasurementError(
            "the server reports no durations, so the capacity is known only for answers of the measured length",
            next_step="remove tokens_per_request from [prices], or measure with Ollama's own API",
        )
    return cost_formulas.requests_per_hour(ttft_ms=median(firsts_ms), tokens=tokens, tok_s=median(rates))
