"""Stated prices: what no measurement can know."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The section `[prices]` of `llmperf.toml`.

    Attributes:
        usd_per_hour: cost of the machine that serves all agents: depreciation, electricity, cooling; USD per hour.
        requests_per_month: demand; 0: not stated, then there is no monthly cost.
        tokens_per_request: length of an answer, tokens; 0: as measured.
        migration_usd: one-time cost of changing to a deployment, USD.
        years: years of ownership.
        max_usd_per_1m_tokens: limit of the gate `cost` if its marker sets none; 0: not stated.

    Raises:
        ValueError: values are invalid; the message lists all of them.
    """

    usd_per_hour: float
    requests_per_month: float = 0.0
    tokens_per_request: int = 0
    migration_usd: float = 0.0
    years: float = 5.0
    max_usd_per_1m_tokens: float = 0.0

    def __post_init__(self) -> None:
        faults = []
        for field_ in fields(self):
            value = getattr(self, field_.name)
            above = field_.name in ("usd_per_hour", "years")
            if not abs(value) <= sys.float_info.max or value < 0 or (above and value == 0):
                faults.append(f"{field_.name} = {value:g}, wanted {'a number above 0' if above else '0 or more'}")
        if faults:
            raise ValueError("; ".join(faults))
