"""The questions of a triage, and the answers that a measurement itself gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmperf.judge.diagnosis.client_saturation import (
    client_cost_pp,
    client_overhead_problem,
    discarded_of_total,
    last_saturation,
)
from pytest_llmperf.judge.diagnosis.decode_decline import declining
from pytest_llmperf.judge.diagnosis.diagnose import LEAST_PP, crowded, diagnose, loss_of
from pytest_llmperf.judge.diagnosis.machine_health import swapping, throttled
from pytest_llmperf.judge.diagnosis.phase_findings import PhaseRegression, in_words

if TYPE_CHECKING:
    from pytest_llmperf.model import Measurement


class State(StrEnum):
    """The state of a question."""

    OK = "ok"
    FOUND = "found"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to one question of the triage.

    Attributes:
        question: the question in a word or two.
        state: whether everything is as it should be.
        said: the state in words, the evidence for it, or why it is unknown.
    """

    question: str
    state: State
    said: str


def answer(question: str, problems: Sequence[str], otherwise: str) -> Answer:
    """An answer: the problems, or if there are none, the text for that."""
    state = State.FOUND if problems else State.OK
    return Answer(question=question, state=state, said="; ".join(problems) or otherwise)


def unknown(question: str, why: str) -> Answer:
    """An answer to a question that cannot be answered."""
    return Answer(question=question, state=State.UNKNOWN, said=why)


def of_measurement(measurement: Measurement, slower: Sequence[PhaseRegression], held: str) -> Iterator[Answer]:
    """The answers that the rounds give.

    Args:
        measurement: the measurement with its rounds.
        slower: see Record.
        held: what it was compared with, in words; empty: nothing.
    """
    yield _baseline(slower, held)
    yield _client(measurement)
    yield _machine(measurement)
    yield _loss(measurement)


def _baseline(slower: Sequence[PhaseRegression], held: str) -> Answer:
    if not held:
        return unknown("baseline", "nothing to compare with: --llmperf-compare=NAME")
    alone = [phase for phase in slower if phase.where == "alone"]
    first = [phase for phase in alone if phase.part == alone[0].part]
    return answer("baseline", [in_words(first)] if first else [], f"each agent alone takes no longer than {held}")


def _client(measurement: Measurement) -> Answer:
    problems = [client_overhead_problem(measurement)] if client_overhead_problem(measurement) else []
    if measurement.discarded:
        problems.append(f"saturated in {discarded_of_total(measurement)}: {last_saturation(measurement)}")
    if not measurement.rounds:
        return answer("client", problems, "")
    cost_pp = median(map(client_cost_pp, measurement.rounds))
    return answer("client", problems, f"its overhead was {cost_pp:.2f} pp of efficiency")


def _machine(measurement: Measurement) -> Answer:
    looks = (crowded, swapping, throttled, declining)
    problems = list(filter(None, (look(measurement) for look in looks)))
    if measurement.telemetry is None:
        return answer("machine", problems, "no decode rate falls; nothing else was checked")
    return answer("machine", problems, "cores are idle, nothing swaps or throttles, no decode rate falls")


def _loss(measurement: Measurement) -> Answer:
    loss = loss_of(measurement)
    if loss is None:
        return unknown("loss", "only defined for two or more agents, alone and together")
    diagnosis = diagnose(measurement)
    words = f"{loss.loss_pp:.1f} pp of {loss.of}"
    if loss.loss_pp < LEAST_PP or diagnosis is None or not diagnosis.sentence:
        return answer("loss", [], words)
    return answer("loss", [f"{words}: {diagnosis.sentence}"], "")
