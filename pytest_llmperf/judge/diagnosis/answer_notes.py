"""What a reader must know of the answers: thoughts, missing counts, and answers that were not streamed."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge.metrics import request_formulas
from pytest_llmperf.judge.metrics.request_pairs import came_at_once
from pytest_llmperf.judge.metrics.round_checks import COUNTS_NEXT
from pytest_llmperf.judge.metrics.series import series

if TYPE_CHECKING:
    from pytest_llmperf.model import Measurement, RequestTiming


def notes_of_answers(measurement: Measurement) -> tuple[str, ...]:
    """Notes, each a sentence; none if all answers are streamed text with a token count."""
    runs = [run for round_ in measurement.rounds for run in (*round_.together, *round_.solo)]
    requests = [request for run in runs for request in run.requests]
    every = len(requests)
    notes = list(_of_thoughts([request for request in requests if request.reasoning_ns], every))
    if uncounted := sum(request.uncounted for request in requests):
        notes.append(
            f"{uncounted} of {every} answers have no token count: token rates, and figures that compare equal work "
            f"alone and together, are undefined; {COUNTS_NEXT}"
        )
    if whole := sum(not request.streamed for request in requests):
        notes.append(
            f"{whole} of {every} answers were not streamed: they have no TTFT; contention is determined from the "
            "server's queue time, or from answers that take 1.5 times as long as alone"
        )
    if at_once := sum(came_at_once(request) for request in requests if request.arrivals_ns):
        notes.append(
            f"{at_once} of {every} answers arrived at once, in one chunk or buffered by a proxy: their TTFT is the "
            "time of the whole answer, and contention is determined as for answers that are not streamed"
        )
    return tuple(notes)


def undefined_next(measurement: Measurement, metric: str) -> str:
    """What to do about an undefined metric; empty if it is defined, or no step is known."""
    try:
        series(measurement, metric)
    except MeasurementError as error:
        return error.next_step
    except UsageError:  # it has no value per round
        return ""
    return ""


def _of_thoughts(thinking: list[RequestTiming], every: int) -> list[str]:
    """Of requests whose answers have thoughts."""
    if not thinking:
        return []
    silent = [request for request in thinking if not request.arrivals_ns]
    told = [request for request in thinking if request.arrivals_ns and request.streamed]
    notes = []
    if told:
        thought_ms = median(request_formulas.first_token_ms(request) for request in told)
        text_ms = median(request_formulas.ttft_ms(request) for request in told)
        notes.append(
            f"the model thinks before it answers (in {len(thinking)} of {every} requests): TTFT is the time to the "
            f"first text, median {text_ms:.0f} ms; the first thought came after {thought_ms:.0f} ms (median)"
        )
    if silent:
        notes.append(
            f"{len(silent)} of {every} answers have no content: the model spent all tokens on thoughts; "
            f"{request_formulas.THINK_NEXT}"
        )
    return notes
