"""The requests of an agent together, beside the same requests alone, and whether they had to wait.

Requests are paired by the order in which they were sent. Requests of one agent that are under way at once are sent in
any order: these are compared as sorted, the quickest together with the quickest alone.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics import formulas, request_formulas
from pytest_llmperf.judge.metrics.catalogue import TTFT_RATIO_LIMIT
from pytest_llmperf.judge.metrics.contradictions import believable
from pytest_llmperf.judge.metrics.round_checks import located, paired
from pytest_llmperf.judge.stats.resolution import above

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.model import Measurement, RequestTiming

LEAST_QUEUE_MS, QUEUE_TIMES = 50.0, 2.0
"""A request that was not streamed had to wait if its queue time is above both: LEAST_QUEUE_MS, and QUEUE_TIMES
times the queue time alone."""

FEWEST_AT_ONCE = 8
"""Tokens of an answer that came at once, from which on its first chunk is no first token but the whole answer."""

LEAST_DECODE_NS, AT_ONCE_SHARE = 50_000_000, 0.1
"""Chunks came at once if they arrived in less than this share of the server's decode time, and that was this long;
looked at only where the server tells the queue time, which then decides."""

_BYTES_A_TOKEN = 4

E2E_RATIO_LIMIT = 1.5
"""... and if the server does not report its queue time, if its answer took this many times as long as alone."""


class Step(NamedTuple):
    """One request of an agent, and the same one alone.

    Attributes:
        where: round and agent, for errors.
        together: the request with the other agents.
        alone: the same request alone, in each round.
    """

    where: str
    together: RequestTiming
    alone: tuple[RequestTiming, ...]


def steps(measurement: Measurement) -> tuple[tuple[tuple[Step, ...], ...], ...]:
    """Every request of the together parts with the same ones alone, by round, agent and step.

    Raises:
        MeasurementError: a round has no solo run, or the number of requests differs between runs.
    """
    rounds = [paired(round_) for round_ in measurement.rounds]
    by_agent = []
    for agent, run in enumerate(rounds[0].solo):
        solo = [round_.solo[agent].requests for round_ in rounds]
        both = [round_.together[agent].requests for round_ in rounds]
        counts = {len(requests) for requests in (*solo, *both)}
        if len(counts) != 1:
            raise MeasurementError(
                f"agent {run.agent!r} sent {sorted(counts)} requests in different runs, wanted one number"
            )
        starts = _groups([*solo, *both])
        alone = tuple(zip(*(_sorted(requests, starts) for requests in solo), strict=True))
        by_agent.append(
            [
                tuple(
                    Step(f"round {round_.index}, agent {run.agent!r}", request, same)
                    for request, same in zip(_sorted(requests, starts), alone, strict=True)
                )
                for round_, requests in zip(rounds, both, strict=True)
            ]
        )
    return tuple(zip(*by_agent, strict=True))


def with_ttft(agents: Sequence[Sequence[Step]]) -> list[list[Step]]:
    """The steps of a round, by agent, without embeddings, which have no TTFT; all of them if there is nothing else."""
    texts = [[step for step in own if not step.together.embedding] for own in agents]
    return texts if any(texts) else list(map(list, agents))


def ttft_ratio(step: Step) -> float:
    """TTFT together over the median alone.

    A TTFT alone that is but an upper bound (its first chunk was read together with later ones) would make the ratio too
    small: it is no part of the median, unless all are such.

    Raises:
        MeasurementError: a TTFT is undefined.
    """
    try:
        ttfts = [request_formulas.ttft_ms(request) for request in step.alone]
        exact = [ttft for ttft, request in zip(ttfts, step.alone, strict=True) if not request.first_merged] or ttfts
        return formulas.ratio(request_formulas.ttft_ms(step.together), statistics.median(exact), "ttft_ratio")
    except MeasurementError as error:
        raise located(error, step.where) from error


def waiting_ratio(step: Step) -> float:
    """How many times as long as alone a streamed request waited for its first token.

    For a model that thinks, the first thought counts, too: its first text comes so late that a queue hardly shows.

    Raises:
        MeasurementError: there is no token.
    """
    if not any(request.reasoning_ns for request in (step.together, *step.alone)):
        return ttft_ratio(step)
    try:
        firsts = [request_formulas.first_token_ms(request) for request in step.alone]
        begun = formulas.ratio(request_formulas.first_token_ms(step.together), statistics.median(firsts), "ttft_ratio")
    except MeasurementError as error:
        raise located(error, step.where) from error
    has_text = all(request.arrivals_ns for request in (step.together, *step.alone))
    return max(begun, ttft_ratio(step)) if has_text else begun


def is_streamed(step: Step) -> bool:
    """Whether its first tokens can be compared."""
    return step.together.streamed and all(request.streamed for request in step.alone)


def came_at_once(request: RequestTiming) -> bool:
    """Whether a streamed answer came at once: in one chunk, or in chunks kept back until the last was written.

    Servers and proxies that only seem to stream do the one, proxies that buffer do the other.
    """
    text = len((request.text + request.reasoning).encode("utf-8", "replace"))
    tokens = request.eval_count or text // _BYTES_A_TOKEN
    if not (request.streamed and request.tokens_ns) or tokens < FEWEST_AT_ONCE:
        return False
    decode_ns, arriving_ns = request.eval_duration_ns, request.tokens_ns[-1] - request.tokens_ns[0]
    kept_back = (
        request.total_duration_ns > 0 and decode_ns >= LEAST_DECODE_NS and arriving_ns < AT_ONCE_SHARE * decode_ns
    )
    return len(request.tokens_ns) == 1 or kept_back


def contended(measurement: Measurement) -> tuple[float, ...]:
    """For each round 1 if some request had to wait, else 0: the detector `ttft`.

    A streamed request had to wait if its TTFT ratio is above TTFT_RATIO_LIMIT. An answer that is not streamed, or that
    arrived at once, has no first token that would show a queue, so the server's queue time decides. If the server does
    not report its queue time, the answer's duration can only prove that the request had to wait, never that it did not.
    The same is true of an embedding: a quick embedding is ignored unless an agent sends only embedding requests.

    Raises:
        MeasurementError: contention cannot be determined for some round.
    """
    verdicts = [_waits([step for steps_ in agents for step in steps_]) for agents in steps(measurement)]
    untold = sum(True not in round_ and None in round_ for round_ in verdicts)
    if untold:
        raise MeasurementError(
            f"contention cannot be determined in {untold} of {len(verdicts)} rounds: the agents do not stream, or "
            "get their answers at once, and the server gives no queue time",
            next_step="have the agents stream, or use Ollama's own API (/api/chat), whose answers have the queue time; "
            f"or {request_formulas.E2E_NEXT}",
        )
    return tuple(float(True in round_) for round_ in verdicts)


def _waits(all_steps: Sequence[Step]) -> list[bool | None]:
    """Whether each request of a round had to wait, without embeddings that cannot tell, beside requests for text."""
    verdicts = [(step.together.embedding, _waited(step)) for step in all_steps]
    has_text = not all(embedding for embedding, _ in verdicts)
    return [waited for embedding, waited in verdicts if waited is not None or not (embedding and has_text)]


def _waited(step: Step) -> bool | None:
    """Whether a request had to wait; None if that cannot be determined."""
    if is_streamed(step):
        waited = above(waiting_ratio(step), TTFT_RATIO_LIMIT)
        if waited or not any(map(came_at_once, (step.together, *step.alone))):
            return waited
    queue_ms = _queue_ms(step.together)
    alone_ms = [wait_ms for request in step.alone if (wait_ms := _queue_ms(request)) is not None]
    if queue_ms is not None and len(alone_ms) == len(step.alone):
        return above(queue_ms, max(LEAST_QUEUE_MS, QUEUE_TIMES * statistics.median(alone_ms)))
    usual_ms = statistics.median(request_formulas.e2e_ms(request) for request in step.alone)
    return True if above(request_formulas.e2e_ms(step.together), E2E_RATIO_LIMIT * usual_ms) else None


def _queue_ms(request: RequestTiming) -> float | None:
    """The server's queue time; None if it reports none, or an impossible one."""
    return request_formulas.queue_ms(request) if believable(request) else None


def _groups(runs: Sequence[Sequence[RequestTiming]]) -> list[int]:
    """Where a group of requests begins that were under way at once, in whatever run; in the order sent."""
    apart = [True] * len(runs[0])
    for run in runs:
        latest_ns = 0
        for at, request in enumerate(run):
            apart[at] = apart[at] and request.sent_ns >= latest_ns
            latest_ns = max(latest_ns, request.done_ns)
    return [at for at, is_apart in enumerate(apart) if at == 0 or is_apart]


def _sorted(run: Sequence[RequestTiming], starts: Sequence[int]) -> list[RequestTiming]:
    """The requests with each group sorted by how long it took until their first token, or their answer."""
    ends = (*starts[1:], len(run))
    return [
        request
        for start, end in zip(starts, ends, strict=True)
        for request in sorted(run[start:end], key=_first_after_ns)
    ]


def _first_after_ns(request: RequestTiming) -> tuple[bool, int]:
    streamed = request.streamed and bool(request.arrivals_ns)
    return streamed, (request.arrivals_ns[0] if streamed else request.done_ns) - request.sent_ns
