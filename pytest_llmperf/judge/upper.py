"""Times to first token that are only upper bounds, since the first chunk was read together with later ones.

A TTFT below its maximum is so however late it was read; one above may be the client's doing, and its verdict says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.judge import formulas
from pytest_llmperf.judge.catalogue import TTFT_RATIO_LIMIT
from pytest_llmperf.judge.metrics import ttft_ratios
from pytest_llmperf.judge.resolution import above
from pytest_llmperf.model import Outcome

if TYPE_CHECKING:
    from pytest_llmperf.model import Measurement, Verdict

_RATIOS = ("ttft_ratio", "contention_rate_ttft")


def upper_bound_words(verdict: Verdict, measurement: Measurement) -> str:
    """What of a verdict upper bounds decided, as a clause; empty where they decided nothing."""
    metric = verdict.gate.metric
    if metric not in ("ttft_ms", *_RATIOS) or verdict.outcome not in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        return ""
    count = _decided(metric, measurement)
    if not count:
        return ""
    return (
        f"in {count} of {len(measurement.rounds)} rounds an upper bound alone decided it: the first chunk was read "
        "together with later ones, so that the client may have been late"
    )


def _decided(metric: str, measurement: Measurement) -> int:
    """In how many rounds the worst TTFT, or all that is contention, is an upper bound."""
    ratios = ttft_ratios(measurement) if metric in _RATIOS else None
    count = 0
    for position, round_ in enumerate(measurement.rounds):
        values = {True: [0.0], False: [0.0]}
        for agent, run in enumerate(round_.together):
            for step, request in enumerate(run.requests):
                value = formulas.ttft_ms(request) if ratios is None else ratios[position][agent][step]
                values[request.first_merged].append(value)
        upper, exact = max(values[True]), max(values[False])
        if metric == "contention_rate_ttft":
            count += above(upper, TTFT_RATIO_LIMIT) and not above(exact, TTFT_RATIO_LIMIT)
        else:
            count += upper > exact
    return count
