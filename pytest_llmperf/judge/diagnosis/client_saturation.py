"""Whether a round measures the servers, or only a client that could not keep up.

The plugin measures the client's own share of every round: the time in which the next action was the client's, how late
the client would have acted at any moment, and its CPU time. A saturated round is discarded before any gate sees its
figures. If the client's own time is small, but too large a share of short rounds, the whole measurement is invalid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.judge.clock_bounds import MOST_BOUND_SHARE, bound_ns, bound_share

if TYPE_CHECKING:
    from pytest_llmperf.model import AgentRun, Measurement, Round

MOST_COST_PP = 1.0
"""More points of efficiency than this must not be the client's own: the finest differences that matter are larger."""

MOST_LAG_MS = 10.0
"""A client that is later than this in a tenth of its samples has no processor to run on. Less than this of its own time
does not saturate a round: any machine interrupts a process for some milliseconds. Over all rounds it counts, see
`client_overhead_problem`."""

MOST_CPU_SHARE = 0.8
"""The largest share of one core that a Python process may use; above it the process has no reserve left."""


def client_cost_pp(round_: Round) -> float:
    """Efficiency that the client itself cost in the together part, points: its time to act over `N * W`."""
    return 100 * sum(run.client_ns for run in round_.together) / (len(round_.together) * _wall_ns(round_))


def client_cpu_share(round_: Round) -> float:
    """CPU time of the clients over the wall time of the together part, in cores."""
    return sum(round_.client_cpu_ns) / _wall_ns(round_)


def merged_firsts(measurement: Measurement) -> tuple[int, int]:
    """Requests, alone and together, whose TTFT is an upper bound, and all of them.

    Their first chunk was read together with later ones and shares the arrival of the last of these.
    """
    runs = [run for round_ in measurement.rounds for run in (*round_.together, *round_.solo)]
    requests = [request for run in runs for request in run.requests]
    return sum(request.first_merged for request in requests), len(requests)


def saturated(round_: Round) -> str:
    """Why a round says nothing about the servers, in words; empty if the client kept up.

    Clients on several hosts whose clocks cannot be compared well enough are no better than one that is late.
    """
    for run in (*round_.together, *round_.solo):
        if run.lag_ns > MOST_LAG_MS * 1e6:
            return f"{_part(run, round_)} was {run.lag_ns / 1e6:.0f} ms late or more for a tenth of the time"
        share_pct = 100 * run.client_ns / run.own_ns
        if run.client_ns > MOST_LAG_MS * 1e6 and share_pct > MOST_COST_PP:
            return f"{_part(run, round_)} had an overhead of {share_pct:.1f} % of the time"
    busiest = max(round_.client_cpu_ns, default=0) / _wall_ns(round_)
    if busiest > MOST_CPU_SHARE:
        return f"the clients used {busiest:.2f} of a core"
    return _uncertain(round_)


def _uncertain(round_: Round) -> str:
    """Whether the clocks of the hosts are known too badly, in words; empty if they are not."""
    if (share := bound_share(round_)) <= MOST_BOUND_SHARE:
        return ""
    return (
        f"the hosts' clocks were known to {bound_ns(round_) / 1e6:.2f} ms only, {100 * share:.1f} % of the wall time "
        f"(at most {100 * MOST_BOUND_SHARE:g} %)"
    )


def most_discarded(min_rounds: int) -> int:
    """How many saturated rounds a measurement may set aside before it is invalid."""
    return min_rounds // 2


def client_overhead_problem(measurement: Measurement) -> str:
    """Why client overhead over all rounds is too large, in words; empty if it is not, or there is no round."""
    for where in ("together", "solo"):
        runs = [run for round_ in measurement.rounds for run in getattr(round_, where)]
        own_ms, all_ms = sum(run.client_ns for run in runs) / 1e6, sum(run.own_ns for run in runs) / 1e6
        if own_ms > MOST_COST_PP / 100 * all_ms:
            share_pct, part = 100 * own_ms / all_ms, "" if where == "together" else " alone"
            return (
                f"client overhead was {share_pct:.1f} % of the time{part}, "
                f"{own_ms / len(runs):.1f} of {all_ms / len(runs):.0f} ms in a run: the rounds are too short"
            )
    return ""


def explain_discard(measurement: Measurement) -> str:
    """Explains why a measurement with too many discarded rounds is invalid."""
    of_total, last = discarded_of_total(measurement), last_saturation(measurement)
    return f"{why_discarded(measurement)} in {of_total}; in the last one {last}"


def why_discarded(measurement: Measurement) -> str:
    """The fault of the newest discarded round, in a few words."""
    return "the hosts' clocks were too uncertain" if clocks_too_uncertain(measurement) else "the client was saturated"


def clocks_too_uncertain(measurement: Measurement) -> bool:
    """Whether the newest discarded round was discarded because of the clocks."""
    return any(_uncertain(round_) == saturated(round_) != "" for round_ in measurement.discarded[-1:])


def nothing_left(measurement: Measurement) -> str:
    """Why no round of a measurement counts, in words; empty if a round counts, or none was run."""
    if measurement.rounds or not measurement.discarded:
        return ""
    return f"nothing is left of the measurement: {explain_discard(measurement)}"


def discarded_of_total(measurement: Measurement) -> str:
    """The number of discarded rounds out of all rounds, in words."""
    ran = len(measurement.rounds) + len(measurement.discarded)
    return f"{len(measurement.discarded)} of {ran} rounds"


def last_saturation(measurement: Measurement) -> str:
    """Why the newest discarded round does not count; for a pair of rounds, the other round may be the reason."""
    reasons = filter(None, map(saturated, reversed(measurement.discarded)))
    return next(reasons, "the client of the other deployment's round was busy")


def _part(run: AgentRun, round_: Round) -> str:
    """The client and the part."""
    return f"the client of {run.agent} {'alone' if run in round_.solo else 'in the together part'}"


def _wall_ns(round_: Round) -> int:
    """W, of the together part."""
    return max(run.duration_ns for run in round_.together)
