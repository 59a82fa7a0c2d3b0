"""Requests together beside the same ones alone: how they are paired, and what shows that they had to wait."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.gates.evaluate import judge
from pytest_llmperf.judge.metrics import request_formulas
from pytest_llmperf.judge.metrics.request_pairs import contended
from pytest_llmperf.judge.metrics.series import series, ttft_ratios
from pytest_llmperf.model import Bound, Measurement, Outcome, RequestTiming, Round
from tests.judge.build import MS, gate, measurement_of, request, run


def round_with(
    alone: Sequence[RequestTiming], both: Sequence[RequestTiming], *, index: int = 0, agents: str = "x"
) -> Round:
    """A round of agents that all have these requests."""
    return Round(
        index=index,
        order=("together",),
        solo=tuple(run(name, *alone) for name in agents),
        together=tuple(run(name, *both) for name in agents),
    )


def unstreamed(total_ms: float, *, queue_ms: float | None = None) -> RequestTiming:
    """An answer that came at once; the server tells its queue time or not."""
    waited = 0.0 if queue_ms is None else queue_ms
    whole = request(total_ms=total_ms, ttft_ms=total_ms, decode_ms=total_ms - waited)
    whole = replace(whole, arrivals_ns=whole.arrivals_ns[:1], streamed=False)
    return whole if queue_ms is None else replace(whole, total_duration_ns=round(total_ms * MS))


def contention_of(measurement: Measurement):
    limit = gate("contention_rate_ttft", 0.2, Bound.MAX, marker="contention")
    return judge(limit, measurement, looks=1)


def rounds_of(alone: Sequence[RequestTiming], both: Sequence[RequestTiming], count: int = 5) -> Measurement:
    return measurement_of(*(round_with(alone, both, index=index) for index in range(count)))


@pytest.mark.parametrize(
    ("alone_ms", "both_ms", "is_contended"),
    [
        (0, 100, 1),
        (0, 51, 1),
        (0, 50, 0),
        (0, 49, 0),
        (30, 61, 1),
        (30, 60, 0),
        (100, 190, 0),
        (100, 201, 1),
        (400, 0, 0),
    ],
)
def test_the_queue_of_an_answer_that_is_not_streamed(alone_ms: float, both_ms: float, is_contended: int) -> None:
    """Above twice that alone, and above 50 ms: the server's queue time decides, however long the answer took."""
    measurement = rounds_of([unstreamed(500, queue_ms=alone_ms)], [unstreamed(500, queue_ms=both_ms)])
    assert contended(measurement) == (is_contended,) * 5
    assert contention_of(measurement).outcome is (Outcome.FAIL if is_contended else Outcome.PASS)


def test_two_agents_that_share_a_slot_and_do_not_stream() -> None:
    """Their TTFT would be twice that alone and never three times, which is no pass all the same."""
    alone = run("x", unstreamed(500)), run("y", unstreamed(500))
    both = run("x", unstreamed(500)), run("y", unstreamed(1000))
    rounds = [Round(index=index, order=("together",), solo=alone, together=both) for index in range(5)]
    assert contention_of(measurement_of(*rounds)).outcome is Outcome.FAIL


def test_without_streams_and_without_a_queue_time_nobody_can_say_no() -> None:
    """An answer that takes long has waited; one that does not may have waited all the same: that is no pass."""
    measurement = rounds_of([unstreamed(500)], [unstreamed(700)])
    with pytest.raises(
        MeasurementError, match="cannot be determined in 5 of 5 rounds: the agents do not stream"
    ) as caught:
        contended(measurement)
    assert "have the agents stream" in caught.value.next_step
    verdict = contention_of(measurement)
    assert verdict.outcome is Outcome.INVALID
    assert "the agents do not stream" in verdict.reason
    assert contended(rounds_of([unstreamed(500)], [unstreamed(751)])) == (1.0,) * 5


def in_one_chunk(total_ms: float, *, tokens: int = 10, text: str = "", queue_ms: float | None = None) -> RequestTiming:
    """A streamed answer whose only chunk holds all of it."""
    whole = unstreamed(total_ms, queue_ms=queue_ms)
    return replace(whole, streamed=True, eval_count=tokens, text=text)


def kept_back(total_ms: float, *, queue_ms: float | None = None) -> RequestTiming:
    """A streamed answer whose chunks a proxy kept back until the last was written; they arrive within 2 ms."""
    whole = unstreamed(total_ms, queue_ms=queue_ms)
    first_ns = whole.arrivals_ns[0]
    return replace(whole, streamed=True, arrivals_ns=tuple(first_ns + number * MS // 5 for number in range(10)))


@pytest.mark.parametrize(
    ("alone", "both", "outcome"),
    [
        (in_one_chunk(500), in_one_chunk(1000), Outcome.FAIL),  # 1.5 times as long as alone
        (in_one_chunk(500), in_one_chunk(700), Outcome.INVALID),
        (in_one_chunk(500), in_one_chunk(1600), Outcome.FAIL),  # a TTFT ratio above 3
        (in_one_chunk(500, queue_ms=0), in_one_chunk(1000, queue_ms=500), Outcome.FAIL),
        (in_one_chunk(500, queue_ms=0), in_one_chunk(1000, queue_ms=1), Outcome.PASS),  # the server was slow
        (in_one_chunk(500, tokens=0, text="x" * 40), in_one_chunk(700, tokens=0, text="x" * 40), Outcome.INVALID),
        (in_one_chunk(500, tokens=2), in_one_chunk(1000, tokens=2), Outcome.PASS),  # "yes", and the end of the turn
        (kept_back(500, queue_ms=0), kept_back(1000, queue_ms=500), Outcome.FAIL),
        (kept_back(500, queue_ms=0), kept_back(500, queue_ms=1), Outcome.PASS),
        (kept_back(500), kept_back(700), Outcome.PASS),  # only a short decode time reveals it
        (request(ttft_ms=500, total_ms=600), request(ttft_ms=1000, total_ms=1100), Outcome.PASS),
    ],
)
def test_a_stream_that_came_at_once_shows_no_first_token(alone, both, outcome: Outcome) -> None:
    """Its TTFT is the whole answer, as of an unstreamed one: behind another one it is twice that, never thrice."""
    assert contention_of(rounds_of([alone], [both])).outcome is outcome


def test_one_round_that_cannot_be_told_makes_the_rate_undefined() -> None:
    """Rounds that do not tell are no random sample."""
    rounds = [round_with([unstreamed(500)], [unstreamed(900)], index=index) for index in range(4)]
    rounds.append(round_with([unstreamed(500)], [unstreamed(500)], index=4))
    with pytest.raises(MeasurementError, match="in 1 of 5 rounds"):
        contended(measurement_of(*rounds))


def test_one_agent_that_streams_shows_the_contention_of_its_round() -> None:
    """A round in which some request had to wait is contended, whatever the others show."""
    streamed = run("x", request(ttft_ms=10)), run("x", request(ttft_ms=90))
    rounds = [
        Round(
            index=index,
            order=("together",),
            solo=(streamed[0], run("y", unstreamed(500))),
            together=(streamed[1], run("y", unstreamed(500))),
        )
        for index in range(3)
    ]
    assert contended(measurement_of(*rounds)) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("metric", ["ttft_ms", "ttft_ratio"])
def test_an_answer_that_is_not_streamed_has_no_ttft(metric: str) -> None:
    """No limit on TTFT passes by it, and the table has no figure."""
    measurement = rounds_of([unstreamed(500)], [unstreamed(500)])
    with pytest.raises(MeasurementError, match="not streamed has no first token") as caught:
        series(measurement, metric)
    assert caught.value.next_step == "have the agent stream"
    assert judge(gate(metric, 9e9, Bound.MAX), measurement, looks=1).outcome is Outcome.INVALID


def embedding(total_ms: float, **server: int) -> RequestTiming:
    """An embedding that arrived after `total_ms`."""
    whole = request(total_ms=total_ms, tokens=0, decode_ms=0, **server)
    return replace(whole, arrivals_ns=(), streamed=False, embedding=True)


def test_one_answer_that_is_not_streamed_makes_the_ttft_of_its_round_undefined() -> None:
    """The error says how many there are, and what to do; whole answers can be compared."""
    measurement = rounds_of([request(ttft_ms=10), unstreamed(500)], [request(ttft_ms=20), unstreamed(700)])
    with pytest.raises(MeasurementError, match="1 of 2 answers were not streamed") as caught:
        series(measurement, "ttft_ms")
    assert "stream every answer" in caught.value.next_step
    assert "e2e_ms" in caught.value.next_step
    assert judge(gate("ttft_ms", 9e9, Bound.MAX), measurement, looks=1).outcome is Outcome.INVALID
    assert series(measurement, "e2e_ms") == (700.0,) * 5


def test_embeddings_leave_ttft_to_the_requests_for_text() -> None:
    """They have none, and no tokens that would be missing."""
    measurement = rounds_of([embedding(50), request(ttft_ms=10)], [embedding(900), request(ttft_ms=25)])
    assert series(measurement, "ttft_ms") == (25.0,) * 5
    assert series(measurement, "ttft_ratio") == (2.5,) * 5
    assert series(measurement, "e2e_ms") == (900.0,) * 5
    assert series(measurement, "system_tok_s")


def test_only_embeddings_have_no_ttft() -> None:
    """The error says so; a queue or a server's TTFT cannot be had from them either."""
    measurement = rounds_of([embedding(50, total_duration_ns=40 * MS)], [embedding(60, total_duration_ns=50 * MS)])
    for metric in ("ttft_ms", "ttft_ratio", "queue_ms", "server_ttft_ms"):
        with pytest.raises(MeasurementError, match="undefined"):
            series(measurement, metric)


def test_an_embedding_shows_contention_only_by_its_duration() -> None:
    """One that was quick says nothing beside other requests, and cannot decide alone."""
    both = [embedding(50), request(ttft_ms=10)]
    assert contended(rounds_of(both, [embedding(60), request(ttft_ms=10)])) == (0.0,) * 5
    assert contended(rounds_of(both, [embedding(80), request(ttft_ms=10)])) == (1.0,) * 5
    with pytest.raises(MeasurementError, match="contention cannot be determined"):
        contended(rounds_of([embedding(50)], [embedding(60)]))


def test_the_servers_own_ttft_is_that_of_the_worst_request() -> None:
    """Streamed or not; a server that gives no durations has none."""
    said = {"total_duration_ns": 90 * MS, "load_duration_ns": 2 * MS}
    quick, slow = request(prompt_eval_duration_ns=1 * MS, **said), request(prompt_eval_duration_ns=6 * MS, **said)
    assert series(rounds_of([quick, quick], [quick, slow]), "server_ttft_ms") == (8.0,) * 5
    with pytest.raises(MeasurementError, match="server_ttft_ms is undefined: 1 of 2"):
        series(rounds_of([quick, quick], [quick, request()]), "server_ttft_ms")


@pytest.mark.parametrize("order", list(permutations((20, 100, 400))))
def test_requests_under_way_at_once_are_compared_as_sorted(order: tuple[int, ...]) -> None:
    """In whatever order an agent sends what it has under way at once, nothing has become slower."""
    alone = [request(sent_ms=at, ttft_ms=ttft_ms, total_ms=500) for at, ttft_ms in enumerate((20, 100, 400))]
    both = [request(sent_ms=at, ttft_ms=ttft_ms, total_ms=500) for at, ttft_ms in enumerate(order)]
    measurement = rounds_of(alone, both)
    assert {ratio for round_ in ttft_ratios(measurement) for own in round_ for ratio in own} == {1.0}
    assert contended(measurement) == (0.0,) * 5


def test_a_request_under_way_at_once_that_waits_is_found() -> None:
    """Sorting hides no wait."""
    alone = [request(sent_ms=at, ttft_ms=ttft_ms, total_ms=2000) for at, ttft_ms in enumerate((20, 400))]
    both = [request(sent_ms=at, ttft_ms=ttft_ms, total_ms=2000) for at, ttft_ms in enumerate((420, 400))]
    assert contended(rounds_of(alone, both)) == (1.0,) * 5


def test_requests_one_after_the_other_are_paired_as_sent() -> None:
    """A conversation has an order: its second turn is no match for its first."""
    alone = [request(sent_ms=0, ttft_ms=20, total_ms=100), request(sent_ms=100, ttft_ms=90, total_ms=100)]
    both = [request(sent_ms=0, ttft_ms=90, total_ms=100), request(sent_ms=100, ttft_ms=20, total_ms=100)]
    assert contended(rounds_of(alone, both)) == (1.0,) * 5


def test_requests_are_a_group_if_they_overlap_in_any_run() -> None:
    """Alone they may be one after the other, and together at once."""
    alone = [request(sent_ms=0, ttft_ms=20, total_ms=100), request(sent_ms=100, ttft_ms=90, total_ms=100)]
    both = [request(sent_ms=0, ttft_ms=90, total_ms=100), request(sent_ms=50, ttft_ms=20, total_ms=100)]
    assert contended(rounds_of(alone, both)) == (0.0,) * 5


def thinking(first_ms: float, text_ms: float | None) -> RequestTiming:
    """A request whose first thought and first text arrive after `first_ms` and `text_ms`."""
    whole = request(ttft_ms=text_ms or 0, total_ms=2000, tokens=32)
    thought = (int(first_ms * MS),)
    return replace(whole, reasoning_ns=thought, arrivals_ns=whole.arrivals_ns[:1] if text_ms is not None else ())


def test_the_ttft_is_that_of_the_first_text() -> None:
    """The first thought has a metric of its own, beside it."""
    measurement = rounds_of([thinking(100, 900)], [thinking(150, 950)])
    assert series(measurement, "ttft_ms") == (950.0,) * 5
    assert series(measurement, "ttft_reasoning_ms") == (150.0,) * 5
    assert request_formulas.ttft_reasoning_ms(request()) is None


def test_a_queue_before_the_first_thought_is_contention() -> None:
    """Though the first text, which comes after many thoughts, is not three times as late."""
    assert contended(rounds_of([thinking(100, 900)], [thinking(1000, 1800)])) == (1.0,) * 5
    assert contended(rounds_of([thinking(100, 900)], [thinking(200, 1000)])) == (0.0,) * 5
    assert contended(rounds_of([thinking(100, None)], [thinking(1000, None)])) == (1.0,) * 5


def test_an_answer_of_thoughts_only_has_no_ttft() -> None:
    """It says so, with the count of tokens and what to do."""
    with pytest.raises(MeasurementError, match="all 32 tokens of a request were thoughts") as caught:
        series(rounds_of([thinking(100, None)], [thinking(100, None)]), "ttft_ms")
    assert "think=False" in caught.value.next_step


def test_gaps_between_tokens_include_thoughts() -> None:
    """The server's count holds them, too."""
    whole = replace(request(tokens=3), reasoning_ns=(MS,), arrivals_ns=(2 * MS, 5 * MS))
    assert request_formulas.itl_ms(whole) == (1.0, 3.0)
    assert request_formulas.tpot_ms(whole) == 2.0
    assert request_formulas.client_decode_tok_s(whole) == 500.0
