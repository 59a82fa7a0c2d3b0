"""Whether a round says something about the servers, or only about a client that could not keep up.

The client's own part in a round is measured in every round: time in which it was the client's turn to act, how long
bytes lay there before it read them, and its CPU time. A saturated round is set aside before any gate sees its figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmperf.model import AgentRun, Measurement, Round

MOST_COST_PP = 1.0
"""More points of efficiency than this must not be the client's own: the finest differences that matter are larger."""

MOST_LAG_MS = 10.0
"""A client that reads a tenth of its chunks later than this has no processor to run on. Less than this of its own time
is never called saturation, however short the round: any machine interrupts anyone for some milliseconds."""

MOST_CPU_SHARE = 0.8
"""Of one core: above it a client that runs Python has no reserve left."""


def client_cost_pp(round_: Round) -> float:
    """Efficiency that the client itself cost in the together part, points: its time to act over `N * W`."""
    wall_ns = max(run.duration_ns for run in round_.together)
    return 100 * sum(run.client_ns for run in round_.together) / (len(round_.together) * wall_ns)


def client_cpu_share(round_: Round) -> float:
    """CPU time of the client over the wall time of the together part, in cores."""
    return round_.client_cpu_ns / max(run.duration_ns for run in round_.together)


def merged_firsts(measurement: Measurement) -> tuple[int, int]:
    """Requests, alone and together, whose TTFT is an upper bound, and all of them.

    Their first chunk was read together with later ones and shares the arrival of the last of these.
    """
    runs = [run for round_ in measurement.rounds for run in (*round_.together, *round_.solo)]
    requests = [one for run in runs for one in run.requests]
    return sum(one.first_merged for one in requests), len(requests)


def saturated(round_: Round) -> str:
    """Why a round is no verdict on the servers, in words; empty where the client kept up."""
    for run in (*round_.together, *round_.solo):
        if run.lag_ns > MOST_LAG_MS * 1e6:
            return f"{_part(run, round_)} read a tenth of its chunks {run.lag_ns / 1e6:.0f} ms late or more"
        share_pct = 100 * run.client_ns / run.duration_ns
        if run.client_ns > MOST_LAG_MS * 1e6 and share_pct > MOST_COST_PP:
            return f"{_part(run, round_)} took {share_pct:.1f} % of the time for itself"
    if (share := client_cpu_share(round_)) > MOST_CPU_SHARE:
        return f"the clients used {share:.2f} of a core"
    return ""


def most_discarded(min_rounds: int) -> int:
    """How many saturated rounds a measurement may set aside before it is invalid."""
    return min_rounds // 2


def why(measurement: Measurement) -> str:
    """Why a measurement with too many discarded rounds is no verdict on the servers, in words."""
    ran = len(measurement.rounds) + len(measurement.discarded)
    return (
        f"the client was saturated in {len(measurement.discarded)} of {ran} rounds; in the last one "
        f"{last_saturation(measurement)}"
    )


def last_saturation(measurement: Measurement) -> str:
    """Why the newest of the discarded rounds do not count; of a pair, the other one may be why."""
    reasons = filter(None, map(saturated, reversed(measurement.discarded)))
    return next(reasons, "the client of the other deployment's round was busy")


def _part(run: AgentRun, round_: Round) -> str:
    """Which client, in which part."""
    return f"the client of {run.agent} {'alone' if run in round_.solo else 'in the together part'}"
