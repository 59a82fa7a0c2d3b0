"""Where lost efficiency goes: the loss of a round, split into shares that add up to it.

With S the time alone, C the time together, W the slowest C (agent m's) and N agents, scaling loses
`1 - sum(S_i) / (N * W)`, which is `((C_m - S_m) + mean(S_m - S_i)) / W`; balance loses `mean(C_m - C_i) / W`, which is
`mean((C_m - S_m) - (C_i - S_i) + (S_m - S_i)) / W`. Every duration is a sum of parts, so that every difference is one
of differences by part: `alone` those of the solo runs, `together` those that come with the company.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_llmperf.model import AgentRun, Round

PARTS = ("client", "queue", "load", "prefill", "decode", "tokens", "rest")
"""`tokens`: more of them, at the other's pace; `rest`: in neither the client's nor the server's times."""

Shares = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What one of the two efficiencies lost, mean over rounds.

    Attributes:
        of: `balance` or `scaling`.
        loss_pp: 100 minus that efficiency by durations (not by token rates, where work differed), points.
        shares_pp: of the loss, by `PART alone` and `PART together`, points; they add up to it; negative: gained.
        slowest: the agent that was last in most rounds.
        instance: that served it.
    """

    of: str
    loss_pp: float
    shares_pp: Shares
    slowest: str
    instance: str


def losses(rounds: Sequence[Round]) -> tuple[Loss, Loss]:
    """What scaling and balance lost.

    Args:
        rounds: one or more, each with the same two agents or more, alone and together.
    """
    last = Counter((run.agent, run.instance) for run in map(_slowest, rounds))
    (slowest, instance), _ = last.most_common(1)[0]
    found = []
    for of in ("scaling", "balance"):
        each = [_of_round(one, idle=of == "balance") for one in rounds]
        shares = {key: fmean(one[key] for one in each) for key in each[0]}
        efficiencies = [
            sum(run.duration_ns for run in (one.together if of == "balance" else one.solo))
            / (len(one.together) * _slowest(one).duration_ns)
            for one in rounds
        ]
        loss_pp = 100 * (1 - fmean(efficiencies))
        found.append(Loss(of=of, loss_pp=loss_pp, shares_pp=shares, slowest=slowest, instance=instance))
    return found[0], found[1]


def _slowest(one: Round) -> AgentRun:
    """Agent m's run."""
    return max(one.together, key=lambda run: run.duration_ns)


def _of_round(one: Round, *, idle: bool) -> dict[str, float]:
    """The shares of one round: what agents wait for the slowest (`idle`), or all that is lost against alone."""
    last = one.together.index(_slowest(one))
    to_pp = 100 / (len(one.together) * one.together[last].duration_ns)
    shares = {f"{part} {where}": 0.0 for where in ("alone", "together") for part in PARTS}
    own = _more(one.together[last], one.solo[last])
    for together, solo in zip(one.together, one.solo, strict=True):
        uneven, theirs = _more(one.solo[last], solo), _more(together, solo)
        for part in PARTS:
            shares[f"{part} alone"] += to_pp * uneven[part]
            shares[f"{part} together"] += to_pp * (own[part] - theirs[part] if idle else own[part])
    return shares


def _more(one: AgentRun, other: AgentRun) -> dict[str, float]:
    """By how much each part of the one run is longer, ns."""
    mine, theirs = _parts_ns(one), _parts_ns(other)
    more: dict[str, float] = {part: mine[part] - theirs[part] for part in mine}
    read, written = (
        [sum(getattr(request, count) for request in run.requests) for run in (one, other)]
        for count in ("prompt_eval_count", "eval_count")
    )
    more["tokens"] = 0.0
    for part, (count, base) in (("prefill", read), ("decode", written)):
        if count and base:
            longer = (count - base) * theirs[part] / base
            more[part] -= longer
            more["tokens"] += longer
    return more


def _parts_ns(run: AgentRun) -> dict[str, int]:
    """The run's duration by part, ns. Where a server gives no durations, its first token ends the prefill."""
    parts = dict.fromkeys(("client", "queue", "load", "prefill", "decode"), 0)
    parts["client"] = run.client_ns
    for one in run.requests:
        if one.total_duration_ns > 0:
            parts["load"] += one.load_duration_ns
            parts["prefill"] += one.prompt_eval_duration_ns
            parts["decode"] += one.eval_duration_ns
            parts["queue"] += one.queue_ns
        else:
            first_ns = one.arrivals_ns[0] if one.arrivals_ns else one.done_ns
            parts["prefill"] += first_ns - one.sent_ns
            parts["decode"] += one.done_ns - first_ns
    parts["rest"] = run.duration_ns - sum(parts.values())
    return parts
