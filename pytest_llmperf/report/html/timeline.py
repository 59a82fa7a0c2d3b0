"""The data from which the page's script draws a selected round, in whole microseconds from its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pytest_llmperf.report.html.phase_table import first_ns, tokens_ns

Plain = Mapping[str, Any]

MOST_ROUNDS = 1000
"""The most rounds kept, evenly spaced: the page of a run of hours must still open."""


def timeline(measurement: Plain, traced: Sequence[Plain] = ()) -> dict[str, Any]:
    """The rounds of a measurement: parts, agents, requests, and the edges between them.

    Args:
        measurement: the measurement from the document.
        traced: the rounds of its critical path; empty: no agent waits for another.

    Returns:
        `rounds`, each with `number`, `together` and `alone`: a list of agents with `agent`, `instance` and `requests`;
        with `edges` between agents (agent and request, by index, of both ends) and the `critical` requests (agent and
        request). A request is `[sent, waiting, prefill, done, tokens, first, gap, ...]`: send time; the server's
        durations of waiting and prefill (-1: unknown), up to the first token; completion time; number of tokens; the
        first arrival and the gaps after it.
    """
    by_index = {round_["index"]: round_ for round_ in traced}
    return {
        "rounds": [
            {
                "number": round_["index"] + 1,
                "together": [_agent(run) for run in round_["together"]],
                "alone": [_agent(run) for run in round_["solo"]],
                **{key: by_index.get(round_["index"], {}).get(key, []) for key in ("edges", "critical")},
            }
            for round_ in _some(measurement["rounds"])
        ]
    }


def _some(rounds: Sequence[Plain]) -> Sequence[Plain]:
    """All rounds, or MOST_ROUNDS of them including the first and the last."""
    if len(rounds) <= MOST_ROUNDS:
        return rounds
    return [rounds[round(place * (len(rounds) - 1) / (MOST_ROUNDS - 1))] for place in range(MOST_ROUNDS)]


def _agent(run: Plain) -> dict[str, Any]:
    return {
        "agent": run["agent"],
        "instance": run["instance"],
        "requests": [_request(request, run["start_ns"]) for request in run["requests"]],
    }


def _request(request: Plain, start_ns: int) -> list[int]:
    def at_us(time_ns: int) -> int:
        return round((time_ns - start_ns) / 1000)

    arrivals = [at_us(time_ns) for time_ns in tokens_ns(request)] if request["streamed"] else []
    until_first = at_us(first_ns(request)) - at_us(request["sent_ns"])
    waiting = prefill = -1
    if request["total_duration_ns"]:
        prefill = min(round((request["load_duration_ns"] + request["prompt_eval_duration_ns"]) / 1000), until_first)
        waiting = until_first - prefill
    return [
        at_us(request["sent_ns"]),
        waiting,
        prefill,
        at_us(request["done_ns"]),
        request["eval_count"],
        *arrivals[:1],
        *(later - earlier for earlier, later in pairwise(arrivals)),
    ]
