"""Agents whose decode rate, alone, falls over the rounds: throttling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmperf.judge.metrics.contradictions import believable
from pytest_llmperf.judge.metrics.request_formulas import agent_decode_tok_s

if TYPE_CHECKING:
    from pytest_llmperf.model import Measurement

_DECLINED, _STEADILY = 0.9, 0.8
"""A decode rate falls if the last third of the rounds has less than _DECLINED of the first third's rate, and at least
_STEADILY of all pairs of rounds agree."""

_FEWEST = 5
"""Fewer rounds show no trend."""


def declining(measurement: Measurement) -> str:
    """The agents whose decode rate alone fell over the rounds, in words; empty if none did."""
    for agent, rates in _declining(measurement):
        return (
            f"the decode rate of {agent} alone fell over the rounds from {rates[0]:.1f} to {rates[-1]:.1f} tok/s: "
            "throttling"
        )
    return ""


def decline_of(measurement: Measurement) -> float:
    """By which share of itself the rate sank that `declining` tells of; 0 if none did."""
    return next((1 - rates[-1] / rates[0] for _, rates in _declining(measurement)), 0.0)


def _declining(measurement: Measurement) -> Iterator[tuple[str, list[float]]]:
    """Agents whose decode rate alone fell over the rounds, with their rates."""
    for runs in zip(*(round_.solo for round_ in measurement.rounds), strict=False):
        believed = [run for run in runs if all(map(believable, run.requests))]
        rates = [rate for run in believed if (rate := agent_decode_tok_s(run)) is not None]
        if len(rates) >= _FEWEST and _declines(rates):
            yield runs[0].agent, rates


def _declines(rates: Sequence[float]) -> bool:
    """Whether the rates, in the order of the rounds, fall by more than noise."""
    third = max(1, len(rates) // 3)
    pairs = list(combinations(rates, 2))
    steady = sum(after < before for before, after in pairs) >= _STEADILY * len(pairs)
    return steady and median(rates[-third:]) < _DECLINED * median(rates[:third])
