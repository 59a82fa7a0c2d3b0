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

    Prefill is as long as the server says, and ends with the first token; waiting is what is left before that.

    Args:
        runs: of one agent and part, as the document holds them; one or more.
    """
    found = [_of_run(run) for run in runs]
    return {phase: fmean(one[phase] for one in found) / 1e6 for phase in PHASES}


def by_agent(rounds: Sequence[Plain]) -> dict[tuple[str, str], dict[str, float]]:
    """The phases of each agent, by its name and `alone` or `together`, ms.

    Args:
        rounds: of a measurement; one or more.
    """
    runs: dict[tuple[str, str], list[Plain]] = {}
    for one in rounds:
        for part, name in (("alone", "solo"), ("together", "together")):
            for run in one[name]:
                runs.setdefault((run["agent"], part), []).append(run)
    return {key: phases_ms(own) for key, own in sorted(runs.items(), key=lambda item: item[0][0])}


def tokens_ns(request: Plain) -> list[int]:
    """Arrivals of all chunks of a request, content and thoughts, in order."""
    return sorted((*request["reasoning_ns"], *request["arrivals_ns"]))


def _of_run(run: Plain) -> dict[str, int]:
    """The phases of one run, ns."""
    total = dict.fromkeys(PHASES, 0)
    for one in run["requests"]:
        first = next(iter(tokens_ns(one)), one["done_ns"])
        prefill = min(one["load_duration_ns"] + one["prompt_eval_duration_ns"], first - one["sent_ns"])
        total["prefill"] += prefill
        total["waiting"] += first - one["sent_ns"] - prefill
        total["decode"] += one["done_ns"] - first
    ended = max(one["done_ns"] for one in run["requests"])
    total["own"] = ended - run["start_ns"] - sum(total.values())
    return total
