"""The phases of an agent's time, alone and together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

Plain = Mapping[str, Any]

PHASES = ("waiting", "prefill", "decode", "own")
"""In the order of a request; `own` is the agent's time outside its requests."""


def phases_ms(runs: Iterable[Plain]) -> dict[str, float]:
    """The mean of each phase over the runs of an agent, ms; the sum is the mean duration.

    Prefill has the server's duration and ends with the first token; waiting is the rest before it. For an answer that
    is not streamed, decode has the server's duration.

    Args:
        runs: the runs of an agent and part, from the document; at least one.
    """
    phases = [_of_run(run) for run in runs]
    return {phase: fmean(durations[phase] for durations in phases) / 1e6 for phase in PHASES}


def by_agent(rounds: Sequence[Plain]) -> dict[tuple[str, str], dict[str, float]]:
    """The phases of each agent by name and part (`alone` or `together`), ms.

    Args:
        rounds: the rounds of a measurement; at least one.
    """
    runs: dict[tuple[str, str], list[Plain]] = {}
    for round_ in rounds:
        for part, name in (("alone", "solo"), ("together", "together")):
            for run in round_[name]:
                runs.setdefault((run["agent"], part), []).append(run)
    return {key: phases_ms(own) for key, own in sorted(runs.items(), key=lambda item: item[0][0])}


def tokens_ns(request: Plain) -> list[int]:
    """Arrivals of all chunks of a request, content and reasoning, in order."""
    return sorted((*request["reasoning_ns"], *request["arrivals_ns"]))


def first_ns(request: Plain) -> int:
    """When the first token arrived; for an answer that is not streamed, computed from the server's decode time."""
    done_ns: int = request["done_ns"]
    if request["streamed"]:
        return next(iter(tokens_ns(request)), done_ns)
    sent_ns: int = request["sent_ns"]
    return max(sent_ns, done_ns - int(request["eval_duration_ns"]))


def _of_run(run: Plain) -> dict[str, int]:
    """The phases of a run, ns."""
    total = dict.fromkeys(PHASES, 0)
    for request in run["requests"]:
        first = first_ns(request)
        prefill = min(request["load_duration_ns"] + request["prompt_eval_duration_ns"], first - request["sent_ns"])
        total["prefill"] += prefill
        total["waiting"] += first - request["sent_ns"] - prefill
        total["decode"] += request["done_ns"] - first
    ended = max(request["done_ns"] for request in run["requests"])
    total["own"] = ended - run["start_ns"] - run["paused_ns"] - sum(total.values())
    return total
