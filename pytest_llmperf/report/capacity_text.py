"""How many agents servers carry: the table, a sentence and the next step."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmperf.judge.capacity.capacity_answer import CapacityAnswer, TriedAgents
from pytest_llmperf.judge.capacity.request_limits import RequestLimits
from pytest_llmperf.model.texts import counted

PROMISE_PCT = 1
"""Percent of answers, at most, that promise too much."""


def capacity_table(answer: CapacityAnswer) -> list[list[str]]:
    """A row for each number of agents that was tried, below a head."""
    kinds = [kind for kind, _ in answer.limits.given]
    head = ["agents", "rounds", "kept", *(f"{kind.label}, {kind.unit}" for kind in kinds), ""]
    rows = [
        [
            str(tried.agents),
            str(tried.rounds),
            f"{tried.kept} of {tried.requests}",
            *(f"{tried.medians[kind.name]:.4g}" if tried.medians else "-" for kind in kinds),
            _mark(answer, tried),
        ]
        for tried in answer.tried
    ]
    return [head, *rows]


def capacity_text(answer: CapacityAnswer) -> tuple[str, str]:
    """A sentence about the capacity, and the next step."""
    promise = f"at least {100 * answer.share:g} % of requests keep {limits_text(answer.limits)}"
    return "; ".join(_sentences(answer, promise)), _next_step(answer)


def limits_text(limits: RequestLimits) -> str:
    """The limits in words."""
    return " and ".join(
        f"{kind.label} {'at least' if kind.least else 'at most'} {limit:g} {kind.unit}" for kind, limit in limits.given
    )


def _sentences(answer: CapacityAnswer, promise: str) -> Iterator[str]:
    if answer.ended:
        yield answer.ended
    if answer.agents is None:
        yield f"not decided: no number of agents was confirmed for which {promise}"
        if answer.looks_good:
            yield f"so far {counted(answer.looks_good, 'agent')} seem to be possible"
    elif answer.agents == 0:
        yield f"carries no agent: not even for one of them {promise}"
    else:
        yield (
            f"carries {counted(answer.agents, 'agent')}: {promise} (at most {PROMISE_PCT} % of such answers promise "
            "too much)"
        )
    if answer.at_most and answer.at_most == answer.agents:
        yield "not more (97.5 % confidence)"
    elif answer.at_most:
        yield f"perhaps up to {counted(answer.at_most, 'agent')} (97.5 % confidence)"
    if first := answer.gives_first:
        yield _gives_first(first)


def _gives_first(first: TriedAgents) -> str:
    """What breaks first when there are more agents."""
    if first.broken is None:
        return f"what gives first: with {counted(first.agents, 'agent')}, requests fail: {first.failure}"
    kind, value = first.broken
    return (
        f"what gives first: the {kind.label} with {counted(first.agents, 'agent')}, {value:.4g} {kind.unit} "
        "in the median of the requests that break it"
    )


def _mark(answer: CapacityAnswer, tried: TriedAgents) -> str:
    if tried.agents == answer.agents:
        return "confirmed"
    if answer.at_most is not None and tried.agents > answer.at_most:
        return "too many"
    return ""


def _next_step(answer: CapacityAnswer) -> str:
    if answer.agents == answer.most_agents:
        return f"try more: --max-agents {2 * answer.most_agents}"
    if answer.agents == 0:
        return "see what one agent reaches: pytest-llmperf quick; then choose limits that it can keep"
    if answer.agents is None:
        return "give it more time (--seconds), or ask for a smaller --share, which takes fewer rounds"
    return f"exit with 1 if this gets worse: --min-agents {answer.agents}"
