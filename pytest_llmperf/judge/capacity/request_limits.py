"""Limits of single requests, and which requests of a round keep them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics.request_formulas import NS_PER_MS, e2e_ms, tpot_ms, ttft_ms
from pytest_llmperf.model import AgentRun, RequestTiming


class RequestLimit(NamedTuple):
    """A kind of limit.

    Attributes:
        name: of the keyword, the option and the JSON's key.
        label: in sentences.
        unit: of the limit and of the value.
        least: whether the limit is the least value; else it is the largest.
        value: the value of a request; raises MeasurementError if it is undefined.
    """

    name: str
    label: str
    unit: str
    least: bool
    value: Callable[[RequestTiming], float]


def _token_time_ms(request: RequestTiming) -> float:
    """Mean time per token after the first, ms."""
    time_ms = tpot_ms(request)
    if time_ms is None:
        raise MeasurementError(
            f"the time per token is undefined: an answer of {request.eval_count} tokens came in "
            f"{len(request.tokens_ns)} chunk(s)",
            next_step="ask for longer answers, or limit ttft_ms or e2e_s only",
        )
    return time_ms


def _tok_s(request: RequestTiming) -> float:
    """Tokens per second after the first token, by their arrivals."""
    time_ms = _token_time_ms(request)
    return 1000 / time_ms if time_ms else float("inf")


def _e2e_s(request: RequestTiming) -> float:
    return e2e_ms(request) * NS_PER_MS / 1e9


LIMITS = (
    RequestLimit("ttft_ms", "TTFT", "ms", least=False, value=ttft_ms),
    RequestLimit("tpot_ms", "time per token", "ms", least=False, value=_token_time_ms),
    RequestLimit("tok_s", "decode rate", "tok/s", least=True, value=_tok_s),
    RequestLimit("e2e_s", "time for the whole answer", "s", least=False, value=_e2e_s),
)
"""Every kind of limit, in the order in which they are printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """What a request must keep; None: it is not limited.

    Attributes:
        ttft_ms: largest time to the first token, ms.
        tpot_ms: largest mean time per token after the first, ms.
        tok_s: least number of tokens per second after the first, by their arrivals.
        e2e_s: largest time to the end of the answer, s.
    """

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    tok_s: float | None = None
    e2e_s: float | None = None

    @property
    def given(self) -> tuple[tuple[RequestLimit, float], ...]:
        """The kinds that are limited, with their limits."""
        return tuple((kind, limit) for kind in LIMITS if (limit := getattr(self, kind.name)) is not None)

    def broken(self, request: RequestTiming) -> tuple[str, ...]:
        """The names of the limits that a request breaks.

        Raises:
            MeasurementError: a limited value is undefined.
        """
        return tuple(kind.name for kind, limit in self.given if _breaks(kind, limit, request))

    def kept(self, runs: Sequence[AgentRun]) -> tuple[int, int]:
        """The number of requests that keep every limit, and of all.

        Raises:
            MeasurementError: a limited value is undefined.
        """
        requests = [request for run in runs for request in run.requests]
        return sum(not self.broken(request) for request in requests), len(requests)

    def medians(self, runs: Sequence[AgentRun]) -> dict[str, float]:
        """The median of all requests' values, by the name of each limit; empty without requests."""
        requests = [request for run in runs for request in run.requests]
        return {kind.name: _middle(map(kind.value, requests)) for kind, _ in self.given} if requests else {}

    def most_broken(self, runs: Sequence[AgentRun]) -> tuple[RequestLimit, float] | None:
        """The kind of limit that most requests break, and the median of their values; None: all keep all."""
        requests = [request for run in runs for request in run.requests]
        counts = Counter(name for request in requests for name in self.broken(request))
        if not counts:
            return None
        kind, limit = max(self.given, key=lambda given: counts[given[0].name])
        return kind, _middle(map(kind.value, filter(partial(_breaks, kind, limit), requests)))


def _breaks(kind: RequestLimit, limit: float, request: RequestTiming) -> bool:
    value = kind.value(request)
    return value < limit if kind.least else value > limit


def _middle(values: Iterable[float]) -> float:
    """The upper median: a value that occurs."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
