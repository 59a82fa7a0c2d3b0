"""The formulas of the metrics: integer nanoseconds and counts in, one figure out, nothing else.

Client times and server durations never meet in one formula. Nothing divides by zero: an undefined figure is None
where the definition says so (a rate from one token), else a MeasurementError that says what is missing.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.model import AgentRun, RequestTiming

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
S_PER_HOUR = 3600

THINK_NEXT = "raise num_predict, or switch thoughts off: Agent(think=False), or think = false in a profile or matrix"
"""Where a model spends its tokens on thoughts."""

# --- per request -----------------------------------------------------------------------------------------------------


def ttft_ms(request: RequestTiming) -> float:
    """Time to the first chunk of content (text or a tool call), on the client's clock, ms; thoughts are none.

    Args:
        request: with at least one arrival.

    Raises:
        MeasurementError: the answer was not streamed, no content chunk arrived, or it arrived before the request was
            sent.

    Source: seed A.6.
    """
    if not request.streamed:
        raise MeasurementError(
            "TTFT is undefined: an answer that is not streamed has no first token", next_step="have the agent stream"
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
    """Load and prefill as the server reports them, ms; None from a server that reports no durations.

    Source: seed 3.2.
    """
    if request.total_duration_ns <= 0:
        return None
    return (request.load_duration_ns + request.prompt_eval_duration_ns) / NS_PER_MS


def queue_ms(request: RequestTiming) -> float | None:
    """Waiting for a slot, ms: `RequestTiming.queue_ns`.

    None from a server that reports no total: no sign of waiting is not the same as no waiting.
    """
    if request.total_duration_ns <= 0:
        return None
    return request.queue_ns / NS_PER_MS


def decode_tok_s(request: RequestTiming) -> float | None:
    """Decode rate as the server reports it, tok/s; None from fewer than 2 tokens or no duration.

    Source: seed 3.2, A.5. With one token the server's duration is about 1 us and no rate at all.
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


# --- per round -------------------------------------------------------------------------------------------------------


def speedup(durations_ns: Sequence[int]) -> float:
    """`sum(C_i) / W`, x.

    Args:
        durations_ns: C_i of each agent of the together part, > 0.

    Raises:
        MeasurementError: no duration, or one that is not positive.
    """
    _check_durations("the together part", durations_ns)
    return sum(durations_ns) / max(durations_ns)


def efficiency_pct(durations_ns: Sequence[int]) -> float:
    """The decision card's parallel efficiency, `sum(C_i) / (N * W) * 100`, in (0, 100]: a balance index.

    Two equal agents served strictly one after the other read 75, because only times of the concurrent run count.

    Args:
        durations_ns: C_i of each agent of the together part, > 0.

    Raises:
        MeasurementError: no duration, or one that is not positive.

    Source: seed A.1 (its reciprocal, see METRICS), A.2, decision card.
    """
    _check_durations("the together part", durations_ns)
    return 100 * sum(durations_ns) / (len(durations_ns) * max(durations_ns))


def scaling_speedup(solo_ns: Sequence[int], durations_ns: Sequence[int]) -> float:
    """`sum(S_i) / W`, x: what running together bought, for the same work.

    Args:
        solo_ns: S_i of each agent alone, > 0.
        durations_ns: C_i of each agent together, > 0.

    Raises:
        MeasurementError: a duration is missing or not positive.
    """
    _check_durations("the solo part", solo_ns)
    _check_durations("the together part", durations_ns)
    return sum(solo_ns) / max(durations_ns)


def scaling_efficiency_pct(solo_ns: Sequence[int], durations_ns: Sequence[int]) -> float:
    """`sum(S_i) / (N * W) * 100`, %: as `scaling_speedup`, over the number of agents."""
    return 100 * scaling_speedup(solo_ns, durations_ns) / len(durations_ns)


def scaling_by_tokens_pct(
    solo_ns: Sequence[int], solo_tokens: Sequence[int], durations_ns: Sequence[int], tokens: Sequence[int]
) -> float:
    """Scaling efficiency from token rates, `(sum(n_i) / W) / sum(n_i_solo / S_i) * 100`, %.

    For rounds whose work differs between alone and together, where durations cannot be compared.

    Args:
        solo_ns: S_i of each agent alone.
        solo_tokens: n_i of each agent alone.
        durations_ns: C_i of each agent together.
        tokens: n_i of each agent together.

    Raises:
        MeasurementError: a duration is missing or not positive, or an agent has no tokens, alone or together.
    """
    _check_durations("the solo part", solo_ns)
    _check_tokens("the solo part", solo_tokens)
    solo_tok_s = math.fsum(n * NS_PER_S / ns for n, ns in zip(solo_tokens, solo_ns, strict=True))
    return 100 * system_tok_s(tokens, durations_ns) / solo_tok_s


def slowdown(solo_ns: int, solo_tokens: int, duration_ns: int, tokens: int) -> float:
    """`C_i / S_i` of one agent, x; per token where it generated another number of tokens together than alone.

    Raises:
        MeasurementError: a duration is not positive, or the work differs and one side generated nothing.
    """
    _check_durations("the solo part", (solo_ns,))
    _check_durations("the together part", (duration_ns,))
    if tokens == solo_tokens:
        return duration_ns / solo_ns
    if tokens <= 0 or solo_tokens <= 0:
        raise MeasurementError(f"slowdown is undefined: {solo_tokens} tokens alone, {tokens} together")
    return (duration_ns * solo_tokens) / (solo_ns * tokens)


def system_tok_s(tokens: Sequence[int], durations_ns: Sequence[int]) -> float:
    """`sum(n_i) / W`, tok/s, on the client's wall clock.

    Raises:
        MeasurementError: no duration, one that is not positive, or an agent without tokens: the sum would be too small.
    """
    _check_durations("the together part", durations_ns)
    _check_tokens("the together part", tokens)
    return sum(tokens) * NS_PER_S / max(durations_ns)


def ratio(value: float, base: float, what: str) -> float:
    """`value / base`.

    Raises:
        MeasurementError: the base is not positive; `what` says of what.
    """
    if base <= 0:
        raise MeasurementError(f"{what} is undefined: its solo baseline is {base:g}")
    return value / base


def _check_durations(part: str, durations_ns: Sequence[int]) -> None:
    """Durations exist and are positive, or a MeasurementError."""
    if not durations_ns:
        raise MeasurementError(f"{part} has no agent: nothing to compute from")
    if min(durations_ns) <= 0:
        raise MeasurementError(f"{part} has a duration of {min(durations_ns)} ns, wanted more than 0")


def _check_tokens(part: str, tokens: Sequence[int]) -> None:
    """Every agent has tokens, or a MeasurementError: 0 is what an answer without a count says."""
    if any(count <= 0 for count in tokens):
        raise MeasurementError(f"{part} has an agent without a token count: a rate of tokens is undefined")


# --- derived ---------------------------------------------------------------------------------------------------------


def cost_per_1m_usd(*, tok_s: float, usd_per_hour: float) -> float:
    """Cost of a million tokens, USD. Source: seed A.7 (114.54 tok/s at $0.50/h gives 1.21).

    Raises:
        MeasurementError: the rate is not positive.
    """
    check_positive("cost_per_1m_usd", tok_s=tok_s)
    return 1e6 / tok_s / S_PER_HOUR * usd_per_hour


def memory_efficiency(*, tok_s: float, vram_gib: float) -> float:
    """Decode rate per memory, tok/s/GiB. Source: seed A.8 (102.85 / 3.3 = 31.2).

    Raises:
        MeasurementError: the memory is not positive.
    """
    check_positive("memory_efficiency", vram_gib=vram_gib)
    return tok_s / vram_gib


def check_positive(figure: str, **inputs: float) -> None:
    """Inputs are finite and above 0, or a MeasurementError that names figure and input."""
    for name, value in inputs.items():
        if not (math.isfinite(value) and value > 0):
            raise MeasurementError(f"{figure} is undefined: {name} is {value:g}, wanted more than 0")
