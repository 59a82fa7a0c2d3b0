"""Checks of a round before anything is computed from it, with errors that name the missing part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_llmperf.model import AgentRun, Round

COUNTS_NEXT = 'an OpenAI-compatible stream has it if the request asks for it: "stream_options": {"include_usage": true}'
"""Where answers have no count of tokens."""


def together(round_: Round) -> tuple[AgentRun, ...]:
    """The together part, checked to be complete, started by one barrier, and answered; else raises MeasurementError.

    An agent whose answers are all empty did no work, so its durations would be meaningless.
    """
    if not round_.together or not all(run.requests for run in round_.together):
        raise MeasurementError(f"round {round_.index} has an empty together part")
    if len({run.start_ns for run in round_.together}) != 1:
        raise MeasurementError(f"round {round_.index}: the agents did not start at one moment")
    for run in round_.together:
        if all(request.empty for request in run.requests):
            raise MeasurementError(
                f"round {round_.index}: all answers to agent {run.agent!r} are empty ({len(run.requests)} of "
                f"{len(run.requests)}): no token, no text",
                next_step="look at the server's log; does the agent send a prompt?",
            )
    return round_.together


def paired(round_: Round) -> Round:
    """The round, if its solo part has the same agents in the same order; else raises MeasurementError."""
    alone, both = [run.agent for run in round_.solo], [run.agent for run in together(round_)]
    if alone != both or not all(run.requests for run in round_.solo):
        raise MeasurementError(
            f"round {round_.index} has solo runs of {alone}, wanted {both}: contention and scaling are defined only "
            "against a solo baseline of the same session"
        )
    return round_


def tokens(runs: Iterable[AgentRun]) -> tuple[int, ...]:
    """n_i of each run; embeddings have none.

    Raises:
        MeasurementError: a request has no count, which would make its sum too small.
    """
    runs = tuple(runs)
    for run in runs:
        uncounted = sum(request.eval_count <= 0 and not request.embedding for request in run.requests)
        if uncounted:
            raise MeasurementError(
                f"agent {run.agent!r}: {uncounted} of {len(run.requests)} answers have no token count: token rates "
                "are undefined",
                next_step=COUNTS_NEXT,
            )
    return tuple(run.eval_count for run in runs)


def same_work(alone: AgentRun, both: AgentRun) -> bool:
    """Whether an agent generated as many tokens together as alone.

    Raises:
        MeasurementError: an answer with content has no token count.
    """
    for run in (alone, both):
        uncounted = sum(request.uncounted for request in run.requests)
        if uncounted:
            raise MeasurementError(
                f"agent {run.agent!r}: {uncounted} of {len(run.requests)} answers have no token count: whether "
                "the agents did the same work alone and together is unknown",
                next_step=COUNTS_NEXT,
            )
    return alone.eval_count == both.eval_count


def located(error: MeasurementError, where: str) -> MeasurementError:
    """The same error, saying where."""
    return MeasurementError(f"{where}: {error.args[0]}", next_step=error.next_step, received=error.received)
