"""How the scripted engine of the simulated backend behaves."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, fields

_DAY_MS = 86_400_000
_RANGES = {
    "ttft_ms": (0, _DAY_MS),
    "prefill_tok_s": (1e-3, 1e9),
    "decode_tok_s": (1e-3, 1e9),
    "jitter_pct": (0, 100),
    "load_ms": (0, _DAY_MS),
    "imbalance_pct": (0, 99),
    "tool_calls": (0, 100),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How the scripted engine of the simulated backend behaves.

    The default rate is the report's. Its TTFTs are no defaults: 1437 ms (TR109, 5.2.2) and 603 ms (TR111_v2, 5.4.2)
    are cold starts (I.2), which the warm-up excludes. The report states no warm TTFT: 40 ms is this project's choice.

    Attributes:
        ttft_ms: time to the first token without prefill; 0 to a day.
        prefill_tok_s: prompt tokens per second; 0.001 to 1e9.
        decode_tok_s: generated tokens per second and slot; 0.001 to 1e9.
        jitter_pct: standard deviation of each duration, percent of it; 0 to 100.
        seed: seed of the jitter.
        load_ms: time to load the model; 0 to a day.
        imbalance_pct: how much slower each further instance decodes than the one before it; 0 to 99.
        tool_calls: how often the model calls a tool before it answers a user in words, if a request offers tools; it
            calls them in turn. 0 to 100.

    Raises:
        ValueError: values are out of range or no numbers; the message lists all of them.
    """

    ttft_ms: float = 40.0
    prefill_tok_s: float = 4000.0
    decode_tok_s: float = 102.85  # TR108: gemma3:latest, one agent
    jitter_pct: float = 0.5
    seed: int = 108
    load_ms: float = 50.0
    imbalance_pct: float = 0.0
    tool_calls: int = 0

    def __post_init__(self) -> None:
        faults = []
        for field_ in fields(self):
            value, (low, high) = getattr(self, field_.name), _RANGES.get(field_.name, (-math.inf, math.inf))
            if not (abs(value) <= sys.float_info.max and low <= value <= high):
                faults.append(f"{field_.name} = {value:g}, wanted {low:g} to {high:g}")
        if faults:
            raise ValueError("; ".join(faults))
