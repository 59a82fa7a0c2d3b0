"""A phase of an agent's work that takes longer than before: in words, and which failing comparisons it explains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.judge.metrics.time_breakdown import PARTS
from pytest_llmperf.model import Outcome

if TYPE_CHECKING:
    from pytest_llmperf.model import Verdict

_BEFORE_TOKENS = ("client", "queue", "load", "prefill", "tokens", "rest")
_EXPLAINS = {
    "ttft_ms": _BEFORE_TOKENS,
    "ttft_ratio": _BEFORE_TOKENS,
    "queue_ms": ("queue",),
    "decode_tok_s": ("decode",),
}
"""Parts that a metric is made of; of every other metric, all."""

_LEAST_MS = 0.5
"""Less is printed as 0 ms, which explains no failure."""

_NAMES = {
    "client": "the client's own time",
    "queue": "waiting for a slot",
    "load": "waiting for the model",
    "prefill": "prefill",
    "decode": "decode",
    "tokens": "reading and writing more tokens",
    "rest": "time outside the server's durations",
}


TO_LOOK_AT = {
    "client": "the client's machine and its Python",
    "queue": "slots and other clients of the server",
    "load": "the memory that is left for the model, keep_alive",
    "prefill": "prompts, num_ctx, num_batch, the server's version",
    "decode": "model and quantization, num_thread, num_gpu, device clocks, the server's version",
    "tokens": "num_predict and the prompts",
    "rest": "the network, the server's version",
}
"""The places to look at if a part takes longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRegression:
    """A part of an agent's work that takes longer than before.

    Attributes:
        part: one of PARTS.
        where: `alone`, or `together` without the increase that also occurs alone.
        agent, instance: the agent and its instance.
        before_ms: the former time for the present number of tokens, ms: median of stored sessions, or of the
            incumbent's rounds.
        now_ms: the present time, ms: median of the rounds.
        baseline: name of the baseline with the stored sessions; empty: none.
        incumbent: name of the incumbent; empty: none.
        count: number of sessions, or of pairs of rounds.
        since: the last session without the regression, by commit and day; empty: unknown, or of the present commit.
        commit: the commit of that session; empty if unknown, or if files were changed.
    """

    part: str
    where: str
    agent: str
    instance: str
    before_ms: float
    now_ms: float
    baseline: str = ""
    incumbent: str = ""
    count: int
    since: str = ""
    commit: str = ""

    @property
    def more_ms(self) -> float:
        """By how much longer it takes."""
        return self.now_ms - self.before_ms


def explaining(phases: Sequence[PhaseRegression], verdicts: Iterable[Verdict]) -> tuple[PhaseRegression, ...]:
    """The regressions that explain the first failing comparison: its largest part, for every agent with that part."""
    for verdict in verdicts:
        gate = verdict.gate
        if verdict.outcome is not Outcome.FAIL or gate.delta is None:
            continue
        parts = _EXPLAINS.get(gate.metric, PARTS)
        fit = [
            phase
            for phase in phases
            if phase.part in parts
            and (phase.baseline, phase.incumbent) == _against(verdict)
            and phase.more_ms >= _LEAST_MS
        ]
        if fit:
            return tuple(phase for phase in fit if (phase.part, phase.where) == (fit[0].part, fit[0].where))
    return ()


def in_words(phases: Sequence[PhaseRegression]) -> str:
    """One part of one agent or more, with the figures of the first."""
    worst = phases[0]
    agents = " and ".join(dict.fromkeys(phase.agent for phase in phases))
    against = f"in baseline {worst.baseline}" if worst.baseline else f"on incumbent {worst.incumbent}"
    count = f"{sessions_words(worst.count)}, " if worst.baseline else ""
    figures = f"({count}{worst.before_ms:.0f} -> {worst.now_ms:.0f} ms)"
    took = (
        f"{worst.now_ms / worst.before_ms:.1f} times as long as {against}"
        if worst.before_ms >= 1
        else f"{worst.more_ms:.0f} ms more than {against}"
    )
    since = f"; last session without it: {worst.since}" if worst.since else ""
    return f"{_NAMES[worst.part]} of {agents} {worst.where} takes {took} {figures}{since}"


def sessions_words(sessions: int) -> str:
    """`1 session`, `4 sessions`."""
    return f"{sessions} session{'' if sessions == 1 else 's'}"


def _against(verdict: Verdict) -> tuple[str, str]:
    gate = verdict.gate
    return ("", gate.incumbent) if gate.incumbent else (gate.baseline, "")
