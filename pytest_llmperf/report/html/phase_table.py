"""Where an agent's time goes, alone and together: what running together costs it, by phase."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

Plain = Mapping[str, Any]

PHASES = ("waiting", "prefill", "decode", "own")
"""In the order of a request; `own` is the agent's time outside of its requests."""


def phases_ms(runs: Iterable[Plain]) -> dict[str, float]:
    """The mean of each phase over runs of one agent, ms; their sum is the mean duration.

    Prefill is as long as the server says, and ends with the first token; waiting is what is left before that. An answer
    that is not streamed has no first token: its decode is as long as the server says.

    Args:
        runs: of one agent and part, as the document holds them; one or more.
    """
    phases = [_of_run(run) for run in runs]
    return {phase: fmean(durations[phase] for durations in phases) / 1e6 for phase in PHASES}


def by_agent(rounds: Sequence[Plain]) -> dict[tuple[str, str], dict[str, float]]:
    """The phases of each agent, by its name and `alone` or `together`, ms.

    Args:
        rounds: of a measurement; one or more.
    """
    runs: dict[tuple[str, str], list[Plain]] = {}
    for round_ in rounds:
        for part, name in (("alone", "solo"), ("together", "together")):
            for run in round_[name]:
                runs.setdefault((run["agent"], part), []).append(run)
    return {key: phases_ms(own) for key, own in sorted(runs.items(), key=lambda item: item[0][0])}


def tokens_ns(request: Plain) -> list[int]:
    """Arrivals of all chunks of a request, content and thoughts, in order."""
    return sorted((*request["reasoning_ns"], *request["arrivals_ns"]))


def first_ns(request: Plain) -> int:
    """When the first token was there; of an answer that is not streamed, as the server's decode time says."""
    done_ns: int = request["done_ns"]
    if request["streamed"]:
        return next(iter(tokens_ns(request)), done_ns)
    sent_ns: int = request["sent_ns"]
    return max(sent_ns, done_ns - int(request["eval_duration_ns"]))


def _of_run(run: Plain) -> dict[str, int]:
    """The phases of one run, ns."""
    total = dict.fromkeys(PHASES, 0)
    for request in run["requests"]:
        first = first_ns(request)
        prefill = min(request["load_duration_ns"] + request["prompt_eval_duration_ns"], first - request["sent_ns"])
        total["prefill"] += prefill
        total["waiting"] += first - request["sent_ns"] - prefill
        total["decode"] += request["done_ns"] - first
    ended = max(request["done_ns"] for request in run["requests"])
    total["own"] = ended - run["start_ns"] - sum(total.values())
    return total
