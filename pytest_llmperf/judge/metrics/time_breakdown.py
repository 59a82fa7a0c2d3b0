"""Where lost efficiency goes: the loss of a round, split into shares that add up to it.

With S the time alone, C the time together, W the slowest C (agent m's) and N agents, scaling loses
`1 - sum(S_i) / (N * W)`, which is `((C_m - S_m) + mean(S_m - S_i)) / W`; balance loses `mean(C_m - C_i) / W`, which is
`mean((C_m - S_m) - (C_i - S_i) + (S_m - S_i)) / W`. Every duration is a sum of parts, so every difference is a sum of
differences by part: `alone` are differences between solo runs, `together` are caused by running together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_llmperf.judge.metrics.contradictions import believable
from pytest_llmperf.model import AgentRun, RequestTiming, Round

PARTS = ("client", "queue", "load", "prefill", "decode", "tokens", "rest")
"""`tokens`: time for more tokens, at the other agent's pace; `rest`: time outside the client's and server's times."""

TIMED = tuple(part for part in PARTS if part != "tokens")
"""The parts whose time is known from one run alone."""

COUNTS = ("read", "written")
"""Tokens of a run: of its prompts, and of its answers."""

STORED_PARTS = (*(f"{part}_ms" for part in TIMED), *COUNTS)
"""The names of these parts and counts in baselines, in this order."""

Shares = Mapping[str, float]

Times = Mapping[str, float]
"""A run's time by part, and its counts of tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficiencyLoss:
    """The loss of one of the two efficiencies, or of a graph's critical path, mean over rounds.

    Attributes:
        of: `balance`, `scaling` or `graph`.
        loss_pp: 100 minus the efficiency by durations (never by token rates), points; for a graph: how much shorter the
            critical path would be if its requests took as long as alone, percent of the makespan.
        shares_pp: the shares of the loss by `PART alone` and `PART together`, points; they add up to the loss; a
            negative share is a gain.
        slowest: the agent that was last in most rounds; for a graph: the agents with the largest share.
        instance: the instance that served this agent, or the first of these agents.
    """

    of: str
    loss_pp: float
    shares_pp: Shares
    slowest: str
    instance: str


def losses(rounds: Sequence[Round]) -> tuple[EfficiencyLoss, EfficiencyLoss]:
    """The losses of scaling and balance efficiency.

    Args:
        rounds: one or more, each with the same two agents or more, alone and together.
    """
    last = Counter((run.agent, run.instance) for run in map(_slowest, rounds))
    (slowest, instance), _ = last.most_common(1)[0]
    both = []
    for of in ("scaling", "balance"):
        each = [_of_round(round_, idle=of == "balance") for round_ in rounds]
        shares = {key: fmean(shares_of_round[key] for shares_of_round in each) for key in each[0]}
        efficiencies = [
            sum(run.duration_ns for run in (round_.together if of == "balance" else round_.solo))
            / (len(round_.together) * _slowest(round_).duration_ns)
            for round_ in rounds
        ]
        loss_pp = 100 * (1 - fmean(efficiencies))
        both.append(EfficiencyLoss(of=of, loss_pp=loss_pp, shares_pp=shares, slowest=slowest, instance=instance))
    return both[0], both[1]


def _slowest(round_: Round) -> AgentRun:
    """Agent m's run."""
    return max(round_.together, key=lambda run: run.duration_ns)


def _of_round(round_: Round, *, idle: bool) -> dict[str, float]:
    """The shares of one round: what agents wait for the slowest (`idle`), or all that is lost against alone."""
    last = round_.together.index(_slowest(round_))
    to_pp = 100 / (len(round_.together) * round_.together[last].duration_ns)
    shares = {f"{part} {where}": 0.0 for where in ("alone", "together") for part in PARTS}
    together, alone = (list(map(times_of, runs)) for runs in (round_.together, round_.solo))
    own = more(together[last], alone[last])
    for mine, solo in zip(together, alone, strict=True):
        uneven, theirs = more(alone[last], solo), more(mine, solo)
        for part in PARTS:
            shares[f"{part} alone"] += to_pp * uneven[part]
            shares[f"{part} together"] += to_pp * (own[part] - theirs[part] if idle else own[part])
    return shares


def more(times: Times, base: Times) -> dict[str, float]:
    """By how much each part of the one is longer, in their unit; in all by how much the one is."""
    growth = {part: times[part] - base[part] for part in TIMED}
    growth["tokens"] = 0.0
    for part, count in (("prefill", "read"), ("decode", "written")):
        if times[count] and base[count]:
            longer = (times[count] - base[count]) * base[part] / base[count]
            growth[part] -= longer
            growth["tokens"] += longer
    return growth


def times_of(run: AgentRun) -> dict[str, float]:
    """A run's own time by part, ns, and its counts; what its scenario had it wait is no part of it."""
    times = dict.fromkeys((*TIMED, *COUNTS), 0.0)
    times["client"] = run.client_ns
    for request in run.requests:
        times["read"] += request.prompt_eval_count
        times["written"] += request.eval_count
        for part, part_ns in phases_ns(request).items():
            times[part] += part_ns
    times["rest"] = run.own_ns - sum(times[part] for part in TIMED if part != "rest")
    return times


def phases_ns(request: RequestTiming) -> dict[str, int]:
    """A request's time from its sending to its answer by part; they add up to it.

    Where a server gives no durations, its first token ends the prefill; an answer that is not streamed has none.
    """
    times = {"queue": 0, "load": 0, "prefill": 0, "decode": 0}
    if request.total_duration_ns > 0 and believable(request):
        times["load"] = request.load_duration_ns
        all_ns = request.total_duration_ns - request.load_duration_ns  # of an embedding there are no other parts
        times["prefill"] = all_ns if request.embedding else request.prompt_eval_duration_ns
        times["decode"] = request.eval_duration_ns
        times["queue"] = request.queue_ns
    elif request.streamed:
        first_ns = next(iter(request.tokens_ns), request.done_ns)
        times["prefill"] = first_ns - request.sent_ns
        times["decode"] = request.done_ns - first_ns
    return {**times, "rest": request.done_ns - request.sent_ns - sum(times.values())}
