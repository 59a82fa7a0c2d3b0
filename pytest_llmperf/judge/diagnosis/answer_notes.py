"""What a reader must know of the answers: thoughts, missing counts, and answers that were not streamed."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge.metrics import request_formulas
from pytest_llmperf.judge.metrics.request_pairs import came_at_once
from pytest_llmperf.judge.metrics.round_checks import COUNTS_NEXT
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.model import UNTIMED, team_of
from pytest_llmperf.model.texts import counted

if TYPE_CHECKING:
    from pytest_llmperf.model import AgentRun, Measurement, RequestTiming

_MOST_NAMED = 8
"""Paths that a note names; more are counted."""


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
    if embeddings := sum(request.embedding for request in requests):
        notes.append(
            f"{embeddings} of {every} answers are embeddings: they have no TTFT and no tokens, and show contention "
            "only if they take 1.5 times as long as alone"
        )
    if whole := [request for request in requests if not (request.streamed or request.embedding)]:
        notes.append(_of_unstreamed(whole, every))
    if at_once := sum(came_at_once(request) for request in requests if request.arrivals_ns):
        notes.append(
            f"{at_once} of {every} answers arrived at once, in one chunk or buffered by a proxy: their TTFT is the "
            "time of the whole answer, and contention is determined as for answers that are not streamed"
        )
    return (*notes, *_of_untimed(runs), *_of_marks(runs), *_of_serial_teams(measurement))


def undefined_next(measurement: Measurement, metric: str) -> str:
    """What to do about an undefined metric; empty if it is defined, or no step is known."""
    try:
        series(measurement, metric)
    except MeasurementError as error:
        return error.next_step
    except UsageError:  # it has no value per round
        return ""
    return ""


def _of_unstreamed(whole: list[RequestTiming], every: int) -> str:
    """A note on answers that were not streamed: which figures replace their TTFT."""
    server_ms = [server for request in whole if (server := request_formulas.server_ttft_ms(request)) is not None]
    servers = f", the server's own TTFT {median(server_ms):.0f} ms (server_ttft_ms)" if server_ms else ""
    return (
        f"{len(whole)} of {every} answers were not streamed: they have no TTFT; their median duration is "
        f"{median(map(request_formulas.e2e_ms, whole)):.0f} ms (e2e_ms){servers}; contention is determined from the "
        "server's queue time, or from answers that take 1.5 times as long as alone"
    )


def _of_untimed(runs: list[AgentRun]) -> list[str]:
    """Notes on requests that no figure includes: one note for each reason."""
    counts: dict[str, Counter[str]] = {}
    for run in runs:
        for untimed in run.untimed:
            counts.setdefault(untimed.reason, Counter())[untimed.request] += untimed.count
    notes = []
    for reason, requests in sorted(counts.items()):
        named = ", ".join(f"{request} ({count})" for request, count in requests.most_common(_MOST_NAMED))
        more = f" and {len(requests) - _MOST_NAMED} more" if len(requests) > _MOST_NAMED else ""
        verb = "is" if requests.total() == 1 else "are"
        notes.append(
            f"{counted(requests.total(), 'request')} {verb} in no figure, because {UNTIMED[reason]}: {named}{more}"
        )
    return notes


def _of_marks(runs: list[AgentRun]) -> list[str]:
    """Notes on marks that do not count: one for each agent and fault."""
    faults = Counter((run.agent, run.marks_fault) for run in runs if run.marks_fault)
    ran = Counter(run.agent for run in runs)
    return [
        f"the marks of {agent} were ignored in {count} of {counted(ran[agent], 'run')}, because {fault}: its work "
        "before its first request and after its last answer is unknown there"
        for (agent, fault), count in sorted(faults.items())
    ]


def _of_serial_teams(measurement: Measurement) -> list[str]:
    """Notes on teams whose program never has requests of two of its agents under way."""
    teams: dict[str, list[int]] = {}
    for index, agent in enumerate(measurement.scenario.agents):
        if team := team_of(agent):
            teams.setdefault(team, []).append(index)
    return [
        f"team {team} runs its agents one after the other: in no round were requests of two of them under way at the "
        "same time; their loss is the program's, not the servers'"
        for team, places in teams.items()
        if measurement.rounds
        and not any(_overlap([round_.together[place] for place in places]) for round_ in measurement.rounds)
    ]


def _overlap(runs: list[AgentRun]) -> bool:
    """Whether requests of two agents are under way at the same time."""
    spans = sorted((request.sent_ns, request.done_ns, run.agent) for run in runs for request in run.requests)
    ends: dict[str, int] = {}
    for sent_ns, done_ns, agent in spans:
        if any(end_ns > sent_ns for name, end_ns in ends.items() if name != agent):
            return True
        ends[agent] = max(done_ns, ends.get(agent, 0))
    return False


def _of_thoughts(thinking: list[RequestTiming], every: int) -> list[str]:
    """Notes on requests whose answers contain thoughts."""
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
