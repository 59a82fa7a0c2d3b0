"""A table of deployments: capacity and cost of each, and savings over the first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Prices
from pytest_llmperf.report.wording.verdict_text import name_of
from pytest_llmperf.study.economics.deployment_cost import Economy, Saving, economy_of, saving

_COLUMNS = (
    "deployment",
    "system tok/s",
    "by G.2",
    "requests/h",
    "USD/1M",
    "hours/month",
    "machines",
    "USD/month",
    "TCO",
)


def compared(
    records: Sequence[Record], prices: Prices | None
) -> tuple[tuple[Economy, ...], tuple[Saving, ...], tuple[str, ...]]:
    """The economies of all records, the savings of all but the first over the first, and lines for the terminal.

    Args:
        records: at least one record; the others are compared with the first.
        prices: the prices of llmperf.toml; None: capacity only.

    Raises:
        MeasurementError: a figure is undefined, or answers differ in length.
    """
    economies = tuple(economy_of(record.measurement, prices) for record in records)
    savings = tuple(saving(economies[0], economy, prices) for economy in economies[1:])
    names = list(map(name_of, records))
    rows = [_COLUMNS, *(_row(name, economy) for name, economy in zip(names, economies, strict=True))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [f"economics: {_stated(prices)}"]
    if any(record.measurement.topology.simulated for record in records):
        lines.append("  SIMULATED: measured on a scripted server, not on a real engine")
    lines += [f"  {_joined(row, widths)}" for row in rows]
    lines += [f"  {name}: {_saved(names[0], saved, prices)}" for name, saved in zip(names[1:], savings, strict=True)]
    return economies, savings, tuple(lines)


def _stated(prices: Prices | None) -> str:
    """The prices used."""
    if prices is None:
        return "no prices given, so no costs: set [prices] in llmperf.toml (docs/economics.md)"
    words = [f"{prices.usd_per_hour:g} USD per hour"]
    if prices.requests_per_month:
        words.append(f"{prices.requests_per_month:,.0f} requests per month")
    words.append(f"{prices.tokens_per_request or 'measured'} tokens per request")
    if prices.requests_per_month:
        words += [f"{prices.migration_usd:,.0f} USD to migrate", f"{prices.years:g} years"]
    return "prices: " + ", ".join(words)


def _row(name: str, economy: Economy) -> tuple[str, ...]:
    figures = (
        (economy.system_tok_s, ".1f"),
        (economy.report_tok_s, ".1f"),
        (economy.requests_per_hour, ".1f"),
        (economy.usd_per_1m_tokens, ".2f"),
        (economy.hours_per_month, ",.1f"),
        (economy.machines, "d"),
        (economy.monthly_usd, ",.2f"),
        (economy.tco_usd, ",.0f"),
    )
    return (name, *("-" if value is None else format(value, layout) for value, layout in figures))


def _saved(base: str, saved: Saving, prices: Prices | None) -> str:
    words = f"{saved.capacity_pct:+.1f} % requests per hour over {base}"
    if saved.monthly_usd is None or saved.break_even_months is None or saved.tco_usd is None or prices is None:
        return words
    if math.isinf(saved.break_even_months):
        paid = "the migration never breaks even"
    else:
        paid = f"the migration ({prices.migration_usd:,.0f} USD) breaks even after {saved.break_even_months:.1f} months"
    monthly, total = f"{saved.monthly_usd:+,.2f} USD saved per month", f"{saved.tco_usd:+,.0f} USD"
    return f"{words}; {monthly}, {paid}; {total} saved in {prices.years:g} years"


def _joined(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
