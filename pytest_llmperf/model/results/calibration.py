"""The cost that the harness adds to its timings, measured against a server with known times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The client's own cost and error at one load.

    Attributes:
        runtime: the runtime that ran the clients.
        timing_source: source of the arrival times, `kernel` or `read`.
        agents: number of clients at once.
        tok_s: tokens per second of each client.
        tokens: timed tokens of each client.
        cpu_us_per_token: CPU time of the client for one token, us.
        arrival_p99_ms: 99th percentile of the time from sending to arrival of a token, through the system, ms.
        bias_pp: balance efficiency by the client's times minus balance efficiency by the server's times, points.
    """

    runtime: str
    timing_source: str
    agents: int
    tok_s: float
    tokens: int
    cpu_us_per_token: float
    arrival_p99_ms: float
    bias_pp: float
