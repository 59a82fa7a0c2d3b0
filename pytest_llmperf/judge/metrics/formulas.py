"""The formulas of rounds and of costs: integer nanoseconds and counts in, one figure out, nothing else.

Client times and server durations never meet in one formula. Nothing divides by zero: an undefined figure is None
if the definition says so (a rate from one token), else a MeasurementError that says what is missing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Sequence


NS_PER_S = 1_000_000_000
S_PER_HOUR = 3600

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

    Source: report, A.1 (its reciprocal), A.2, decision card.
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
    """`C_i / S_i` of one agent, x; per token if it generated another number of tokens together than alone.

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


def ratio(value: float, base: float, figure: str) -> float:
    """`value / base`.

    Raises:
        MeasurementError: the base is not positive; the text names `figure`.
    """
    if base <= 0:
        raise MeasurementError(f"{figure} is undefined: its solo baseline is {base:g}")
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
    """Cost of a million tokens, USD. Source: report, A.7 (114.54 tok/s at $0.50/h gives 1.21).

    Raises:
        MeasurementError: the rate is not positive.
    """
    check_positive("cost_per_1m_usd", tok_s=tok_s)
    return 1e6 / tok_s / S_PER_HOUR * usd_per_hour


def memory_efficiency(*, tok_s: float, vram_gib: float) -> float:
    """Decode rate per memory, tok/s/GiB. Source: report, A.8 (102.85 / 3.3 = 31.2).

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
