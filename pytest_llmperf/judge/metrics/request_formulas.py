"""The formulas of single requests: integer nanoseconds and counts in, one figure out.

Client times and server durations never meet in one formula. An undefined figure is None if the definition says so
(a rate from one token), else a MeasurementError that says what is missing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError

if TYPE_CHECKING:
    from pytest_llmperf.model import AgentRun, RequestTiming

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

THINK_NEXT = "raise num_predict, or switch thoughts off: Agent(think=False), or think = false in a profile or matrix"
"""Where a model spends its tokens on thoughts."""

E2E_NEXT = "compare whole answers: @pytest.mark.regression(metrics=('e2e_ms',))"
"""The next step for a gate on a TTFT that is undefined."""


def ttft_ms(request: RequestTiming) -> float:
    """Time to the first chunk of content (text or a tool call), on the client's clock, ms; thoughts are none.

    Args:
        request: a request with at least one arrival.

    Raises:
        MeasurementError: the answer was not streamed, no content chunk arrived, or it arrived before the request was
            sent.

    Source: report, A.6.
    """
    if request.embedding:
        raise MeasurementError("TTFT is undefined: an embedding has no first token", next_step=E2E_NEXT)
    if not request.streamed:
        raise MeasurementError(
            "TTFT is undefined: an answer that is not streamed has no first token; e2e_ms is its duration, "
            "server_ttft_ms what the server says",
            next_step="have the agent stream",
        )
    if not request.arrivals_ns:
        if request.reasoning_ns:
            raise MeasurementError(
                f"TTFT is undefined: all {request.eval_count} tokens of a request were thoughts, none was text",
                next_step=THINK_NEXT,
            )
        raise MeasurementError("TTFT is undefined: the request got no content chunk")
    return _waited_ms(request, request.arrivals_ns[0])


def ttft_reasoning_ms(request: RequestTiming) -> float | None:
    """Time to the first chunk of thoughts, on the client's clock, ms; None from a model that does not think aloud.

    Raises:
        MeasurementError: it arrived before the request was sent.
    """
    return _waited_ms(request, request.reasoning_ns[0]) if request.reasoning_ns else None


def first_token_ms(request: RequestTiming) -> float:
    """Time to the first chunk, be it thought or content, on the client's clock, ms.

    Raises:
        MeasurementError: there is none, or it arrived before the request was sent.
    """
    if not request.tokens_ns:
        raise MeasurementError("TTFT is undefined: the request got no content chunk")
    return _waited_ms(request, request.tokens_ns[0])


def e2e_ms(request: RequestTiming) -> float:
    """From the request to the end of its answer, on the client's clock, ms."""
    return (request.done_ns - request.sent_ns) / NS_PER_MS


def _waited_ms(request: RequestTiming, first_ns: int) -> float:
    """From the request to its first chunk."""
    waited_ns = first_ns - request.sent_ns
    if waited_ns < 0:
        raise MeasurementError(
            f"TTFT is undefined: the first chunk arrived {-waited_ns} ns before the request was sent"
        )
    return waited_ns / NS_PER_MS


def server_ttft_ms(request: RequestTiming) -> float | None:
    """Load and prefill as the server reports them, ms; None from a server that reports none, and of an embedding.

    Source: report, 3.2.
    """
    if request.total_duration_ns <= 0 or request.embedding:
        return None
    return (request.load_duration_ns + request.prompt_eval_duration_ns) / NS_PER_MS


def queue_ms(request: RequestTiming) -> float | None:
    """Waiting for a slot, ms: `RequestTiming.queue_ns`.

    None from a server that reports no total: no sign of waiting is not the same as no waiting. None of an embedding,
    whose prefill no server reports.
    """
    if request.total_duration_ns <= 0 or request.embedding:
        return None
    return request.queue_ns / NS_PER_MS


def decode_tok_s(request: RequestTiming) -> float | None:
    """Decode rate as the server reports it, tok/s; None from fewer than 2 tokens or no duration.

    Source: report, 3.2, A.5. With one token the server's duration is about 1 us and no rate at all.
    """
    if request.eval_count < 2 or request.eval_duration_ns <= 0:
        return None
    return request.eval_count * NS_PER_S / request.eval_duration_ns


def client_decode_tok_s(request: RequestTiming) -> float | None:
    """Decode rate from arrivals, `(n - 1) / (last - first)`, tok/s; None from fewer than 2 tokens or one moment."""
    span_ns = _span_ns(request)
    if request.eval_count < 2 or span_ns <= 0:
        return None
    return (request.eval_count - 1) * NS_PER_S / span_ns


def itl_ms(request: RequestTiming) -> tuple[float, ...]:
    """Gaps between the arrivals of chunks, thoughts included, ms; one fewer than there are chunks."""
    arrivals_ns = request.tokens_ns
    return tuple((after - before) / NS_PER_MS for before, after in pairwise(arrivals_ns))


def tpot_ms(request: RequestTiming) -> float | None:
    """Mean time per token after the first, `(last - first) / (n - 1)`, ms; None from fewer than 2 tokens."""
    if request.eval_count < 2 or len(request.tokens_ns) < 2:
        return None
    return _span_ns(request) / (request.eval_count - 1) / NS_PER_MS


def _span_ns(request: RequestTiming) -> int:
    """From the first chunk to the last, thoughts included: the count of tokens holds them, too."""
    arrivals_ns = request.tokens_ns
    return arrivals_ns[-1] - arrivals_ns[0] if arrivals_ns else 0


def agent_decode_tok_s(run: AgentRun) -> float | None:
    """Decode rate of an agent: all its tokens over all its decode time, tok/s.

    Requests that have no rate of their own (fewer than 2 tokens) are left out of both sums; None when none is left.
    """
    rated = [request for request in run.requests if decode_tok_s(request) is not None]
    if not rated:
        return None
    return sum(request.eval_count for request in rated) * NS_PER_S / sum(request.eval_duration_ns for request in rated)
