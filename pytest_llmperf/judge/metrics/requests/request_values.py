"""The values of single requests (or of the gaps between chunks) of each round, for percentiles and goodput.

No request drops out: if the value of one is undefined, that is an error, as for metrics of rounds.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics import request_formulas
from pytest_llmperf.judge.metrics.contradictions import COUNT, check_figures
from pytest_llmperf.judge.metrics.formulas import NS_PER_S
from pytest_llmperf.judge.metrics.round_checks import located, together, tokens
from pytest_llmperf.judge.metrics.worst_requests import arriving, texts_of, worst_ttft_ms
from pytest_llmperf.judge.stats.resolution import above

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llmperf.model import Measurement, RequestLimit, RequestTiming, Round

_Value = TypeVar("_Value")


def values_by_round(measurement: Measurement, quantity: str) -> list[list[float]]:
    """The values of a quantity of requests, by round.

    Args:
        measurement: one or more rounds.
        quantity: `ttft`, `itl` (gaps between chunks), `tpot` (ms) or `e2e` (s).

    Raises:
        MeasurementError: no round, or a value is undefined; the text names the round.
    """
    return _by_round(measurement, _VALUES[quantity])


def kept_by_round(measurement: Measurement, limits: Sequence[RequestLimit]) -> list[list[bool]]:
    """Whether each request of each round keeps every limit.

    Args:
        measurement: one or more rounds.
        limits: one or more; with only `e2e_s`, embeddings count, too.

    Raises:
        MeasurementError: as `values_by_round`.
    """

    def kept(round_: Round) -> list[bool]:
        requests = _judged(round_, limits)
        values = [_LIMITED[limit.metric](round_, requests) for limit in limits]
        return [
            not any(above(value, limit.most) for value, limit in zip(own, limits, strict=True))
            for own in zip(*values, strict=True)
        ]

    return _by_round(measurement, kept)


def good_tok_s(measurement: Measurement, limits: Sequence[RequestLimit]) -> tuple[float, float] | None:
    """Tokens per second of the requests that keep every limit, and of all: means over rounds; None without counts."""
    rates = []
    try:
        kept = kept_by_round(measurement, limits)
        for round_, good in zip(measurement.rounds, kept, strict=True):
            tokens(together(round_))
            wall_s = max(run.duration_ns for run in round_.together) / NS_PER_S
            counts = [request.eval_count for request in _judged(round_, limits)]
            good_tokens = sum(count for count, is_good in zip(counts, good, strict=True) if is_good)
            rates.append((good_tokens / wall_s, sum(counts) / wall_s))
    except MeasurementError:
        return None
    return sum(rate for rate, _ in rates) / len(rates), sum(rate for _, rate in rates) / len(rates)


def upper_bounds_above(measurement: Measurement, limit_ms: float) -> int:
    """How many requests have a TTFT above the limit that is only an upper bound."""
    return sum(
        request.first_merged and above(request_formulas.ttft_ms(request), limit_ms)
        for round_ in measurement.rounds
        for request in texts_of(round_)
    )


def _by_round(measurement: Measurement, values: Callable[[Round], list[_Value]]) -> list[list[_Value]]:
    if not measurement.rounds:
        raise MeasurementError(f"measurement of scenario {measurement.scenario.name!r} has no round")
    rounds = []
    for round_ in measurement.rounds:
        try:
            rounds.append(values(round_))
        except MeasurementError as error:
            raise located(error, f"round {round_.index}") from error
    return rounds


def _judged(round_: Round, limits: Sequence[RequestLimit]) -> list[RequestTiming]:
    """The requests that limits are about: all for `e2e_s` alone, else those that ask for text."""
    if any(limit.metric != "e2e_s" for limit in limits):
        return texts_of(round_)
    return [request for run in together(round_) for request in run.requests]


def _ttft_ms(round_: Round) -> list[float]:
    worst_ttft_ms(round_)  # its checks of the whole round
    return list(map(request_formulas.ttft_ms, texts_of(round_)))


def _itl_ms(round_: Round) -> list[float]:
    return list(chain.from_iterable(map(request_formulas.itl_ms, arriving(round_, "itl_ms"))))


def _tpot_ms(round_: Round) -> list[float]:
    check_figures(together(round_), COUNT)
    times_ms = map(request_formulas.tpot_ms, arriving(round_, "tpot_ms"))
    return [time_ms for time_ms in times_ms if time_ms is not None]


def _e2e_s(round_: Round) -> list[float]:
    return _seconds([request for run in together(round_) for request in run.requests])


def _seconds(requests: Sequence[RequestTiming]) -> list[float]:
    return [request_formulas.e2e_ms(request) / 1000 for request in requests]


_VALUES: Mapping[str, Callable[[Round], list[float]]] = {
    "ttft": _ttft_ms,
    "itl": _itl_ms,
    "tpot": _tpot_ms,
    "e2e": _e2e_s,
}

_LIMITED: Mapping[str, Callable[[Round, Sequence[RequestTiming]], list[float]]] = {
    "ttft_ms": lambda round_, _: _ttft_ms(round_),
    "tpot_ms": lambda round_, _: _tpot_ms(round_),
    "e2e_s": lambda _, requests: _seconds(requests),
}
"""The values of the requests that limits are about."""
