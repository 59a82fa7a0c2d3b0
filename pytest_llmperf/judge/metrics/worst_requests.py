"""Metrics of requests per round: the value of the worst request of all agents together."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics import request_formulas
from pytest_llmperf.judge.metrics.request_pairs import came_at_once
from pytest_llmperf.judge.metrics.round_checks import together

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llmperf.model import RequestTiming, Round


def worst_ttft_ms(round_: Round) -> float:
    """Time to the first text or tool call, ms; embeddings, which have none, are left out.

    Raises:
        MeasurementError: an answer that has text was not streamed, or there are only embeddings.
    """
    texts = texts_of(round_)
    whole = sum(not request.streamed for request in texts)
    if 0 < whole < len(texts):
        raise MeasurementError(
            f"TTFT is undefined: {whole} of {len(texts)} answers were not streamed and have no first token; the others "
            "alone would be another measurement",
            next_step=f"have the agents stream every answer, or {request_formulas.E2E_NEXT}",
        )
    return max(map(request_formulas.ttft_ms, texts))


def texts_of(round_: Round) -> list[RequestTiming]:
    """The requests together that ask for text; if there are only embeddings, these."""
    requests = [request for run in together(round_) for request in run.requests]
    return [request for request in requests if not request.embedding] or requests


def worst_e2e_ms(round_: Round) -> float:
    """From the request to the end of its answer, ms; of embeddings, too."""
    return max(request_formulas.e2e_ms(request) for run in together(round_) for request in run.requests)


def worst_server_ttft_ms(round_: Round) -> float:
    """Load and prefill by the server, ms; raises MeasurementError if an answer gives no durations."""
    return _worst_of_server(round_, request_formulas.server_ttft_ms, "server_ttft_ms")


def worst_ttft_reasoning_ms(round_: Round) -> float:
    """Time to the first thought, ms; raises MeasurementError if no answer has thoughts."""
    waits_ms = [request_formulas.ttft_reasoning_ms(request) for run in together(round_) for request in run.requests]
    thoughts_ms = [wait_ms for wait_ms in waits_ms if wait_ms is not None]
    if not thoughts_ms:
        raise MeasurementError("ttft_reasoning_ms is undefined: no answer has thoughts")
    return max(thoughts_ms)


def worst_queue_ms(round_: Round) -> float:
    """Queue time by the server, ms; raises MeasurementError if an answer gives no total."""
    return _worst_of_server(round_, request_formulas.queue_ms, "queue_ms")


def _worst_of_server(round_: Round, wait_ms_of: Callable[[RequestTiming], float | None], metric: str) -> float:
    """The longest wait by the server's durations, ms.

    Raises:
        MeasurementError: an answer gives none.
    """
    waits_ms = [wait_ms_of(request) for request in texts_of(round_)]
    known_ms = [wait_ms for wait_ms in waits_ms if wait_ms is not None]
    if len(known_ms) < len(waits_ms):
        raise MeasurementError(
            f"{metric} is undefined: {len(waits_ms) - len(known_ms)} of {len(waits_ms)} answers give no "
            "`total_duration`, as a /v1 answer never does",
            next_step="measure it with Ollama's own API",
        )
    return max(known_ms)


def arriving(round_: Round, metric: str) -> list[RequestTiming]:
    """The requests together, whose chunks must have arrived one after the other.

    Raises:
        MeasurementError: an answer was not streamed, came at once, or is shorter than two chunks or two tokens.
    """
    requests = texts_of(round_)
    paced = [
        len(set(request.tokens_ns)) > 1 and request.eval_count > 1 and request.streamed and not came_at_once(request)
        for request in requests
    ]
    if not all(paced):
        raise MeasurementError(
            f"{metric} is undefined: in {paced.count(False)} of {len(paced)} answers no two tokens arrived one after "
            "the other",
            next_step="have the agents stream, without a proxy that keeps chunks back; raise num_predict",
        )
    return requests


def slowest_client_decode_tok_s(round_: Round) -> float:
    """Decode rate by arrivals, tok/s; raises MeasurementError as all metrics of tokens do."""
    rates = map(request_formulas.client_decode_tok_s, arriving(round_, "client_decode_tok_s"))
    return min(rate for rate in rates if rate is not None)


def worst_itl_ms(round_: Round) -> float:
    """Median gap between chunks, ms; raises MeasurementError as all metrics of tokens do."""
    gaps_ms = map(request_formulas.itl_ms, arriving(round_, "itl_ms"))
    return max(map(statistics.median, gaps_ms))


def worst_tpot_ms(round_: Round) -> float:
    """Mean time per token after the first, ms; raises MeasurementError as all metrics of tokens do."""
    times_ms = map(request_formulas.tpot_ms, arriving(round_, "tpot_ms"))
    return max(time_ms for time_ms in times_ms if time_ms is not None)
