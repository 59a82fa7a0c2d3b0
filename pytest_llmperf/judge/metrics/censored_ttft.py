"""Times to first token that are only upper bounds, since the first chunk was read together with later ones.

A TTFT below its maximum is so however late it was read; one above may be the client's doing, and its verdict says so.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from pytest_llmperf.judge.metrics import request_formulas
from pytest_llmperf.judge.metrics.catalogue import TTFT_RATIO_LIMIT
from pytest_llmperf.judge.metrics.request_pairs import Step, is_streamed, steps, ttft_ratio, waiting_ratio
from pytest_llmperf.judge.metrics.worst_requests import texts_of
from pytest_llmperf.judge.stats.resolution import above
from pytest_llmperf.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_llmperf.model import Measurement, Verdict

_RATIOS: Mapping[str, Callable[[Step], float]] = {
    "ttft_ratio": ttft_ratio,
    "contention_rate_ttft": waiting_ratio,
}
"""What is compared with the limit, of one request."""


def upper_bound_words(verdict: Verdict, measurement: Measurement) -> str:
    """A clause for a verdict that TTFTs which are only upper bounds decided; empty for any other verdict."""
    metric = verdict.gate.metric
    if metric not in ("ttft_ms", *_RATIOS) or verdict.outcome not in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        return ""
    count = _decided(metric, measurement)
    if not count:
        return ""
    return (
        f"in {count} of {len(measurement.rounds)} rounds an upper bound alone decided the verdict: the first "
        "chunk was read together with later ones, and the client may have been late"
    )


def _decided(metric: str, measurement: Measurement) -> int:
    """The number of rounds in which the worst TTFT, or every sign of contention, is an upper bound."""
    count = 0
    for round_ in _rounds(metric, measurement):
        values = {True: [0.0], False: [0.0]}
        for is_bound, value in round_:
            values[is_bound].append(value)
        upper, exact = max(values[True]), max(values[False])
        if metric == "contention_rate_ttft":
            count += above(upper, TTFT_RATIO_LIMIT) and not above(exact, TTFT_RATIO_LIMIT)
        else:
            count += upper > exact
    return count


def _rounds(metric: str, measurement: Measurement) -> Iterator[list[tuple[bool, float]]]:
    """For each request of each round: whether its TTFT is an upper bound, and the value compared with the limit."""
    if metric in _RATIOS:
        for agents in steps(measurement):
            streamed = filter(is_streamed, chain.from_iterable(agents))
            yield [(step.together.first_merged, _RATIOS[metric](step)) for step in streamed]
        return
    for round_ in measurement.rounds:
        yield [(request.first_merged, request_formulas.ttft_ms(request)) for request in texts_of(round_)]
