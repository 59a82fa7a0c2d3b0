"""Notes on the answers: thoughts, missing counts, answers that were not streamed."""

from dataclasses import replace

import pytest

from pytest_llmperf.judge.diagnosis.answer_notes import notes_of_answers, undefined_next
from pytest_llmperf.model import Untimed
from tests.judge.build import MS, measurement_of, request, round_of
from tests.judge.metrics.test_request_pairs import embedding, rounds_of, thinking, unstreamed


def test_plain_answers_need_no_note() -> None:
    """Streamed text with counts."""
    assert notes_of_answers(measurement_of(round_of((100, 100), (100, 100)))) == ()


def test_thoughts_are_told() -> None:
    """Which request TTFT is of, and when the first thought came."""
    (note,) = notes_of_answers(rounds_of([thinking(100, 900)], [thinking(200, 1000)], count=2))
    assert "thinks before it answers (in 4 of 4 requests)" in note
    assert "first text, median 950 ms; the first thought came after 150 ms (median)" in note


def test_requests_without_content_are_counted() -> None:
    """All tokens may be spent on thoughts."""
    both = rounds_of([thinking(100, 900)], [thinking(100, None)], count=2)
    assert "2 of 4 answers have no content: the model spent all tokens on thoughts" in notes_of_answers(both)[1]
    (note,) = notes_of_answers(rounds_of([thinking(100, None)], [thinking(100, None)], count=1))
    assert "2 of 2 answers have no content" in note
    assert "think=False" in note


def test_missing_counts_are_told() -> None:
    """With what to ask the server for; a cancelled request never has a count."""
    uncounted = request(tokens=0)
    (note,) = notes_of_answers(rounds_of([request()], [uncounted], count=2))
    assert note.startswith("2 of 4 answers have no token count")
    assert "include_usage" in note
    cancelled = replace(uncounted, done_reason="cancelled")
    assert notes_of_answers(rounds_of([cancelled], [cancelled])) == ()


def test_answers_that_were_not_streamed_are_told() -> None:
    """The note also says how contention is determined."""
    (note,) = notes_of_answers(rounds_of([unstreamed(500)], [unstreamed(500)], count=1))
    assert note.startswith("2 of 2 answers were not streamed: they have no TTFT")


def test_the_servers_own_ttft_is_beside_the_duration_of_an_answer_that_was_not_streamed() -> None:
    """If the server gives durations; else there is only the client's."""
    said = replace(
        unstreamed(500), total_duration_ns=490 * MS, load_duration_ns=5 * MS, prompt_eval_duration_ns=35 * MS
    )
    (note,) = notes_of_answers(rounds_of([said], [said], count=1))
    assert "median duration is 500 ms (e2e_ms), the server's own TTFT 40 ms (server_ttft_ms)" in note
    (bare,) = notes_of_answers(rounds_of([unstreamed(500)], [unstreamed(500)], count=1))
    assert "median duration is 500 ms (e2e_ms); contention" in bare


def test_embeddings_are_told() -> None:
    """They have no TTFT, and are not counted among the answers that were not streamed."""
    (note,) = notes_of_answers(rounds_of([embedding(50)], [embedding(60)], count=1))
    assert note.startswith("2 of 2 answers are embeddings: they have no TTFT")


def test_requests_that_are_in_no_figure_are_named() -> None:
    """With their number over all runs, a note for each reason; many paths are not all named."""
    untimed = [
        Untimed(request="POST /v1/rerank", reason="unknown", count=2),
        *(Untimed(request=f"POST /x/{number}", reason="unknown", count=1) for number in range(9)),
        Untimed(request="POST /api/chat", reason="abandoned", count=1),
    ]
    round_ = round_of((100, 100), (100, 100))
    together = tuple(replace(run, untimed=tuple(untimed)) for run in round_.together)
    abandoned, unknown = notes_of_answers(measurement_of(replace(round_, together=together)))
    assert abandoned == (
        "2 requests are in no figure, because the client gave up before the barrier opened: POST /api/chat (2)"
    )
    assert unknown.startswith(
        "22 requests are in no figure, because the tap does not know the path: POST /v1/rerank (4)"
    )
    assert unknown.endswith("and 2 more")


def test_answers_that_came_in_one_chunk_are_told() -> None:
    """Their TTFT is no time to a first token."""
    whole = replace(unstreamed(500), streamed=True)
    (note,) = notes_of_answers(rounds_of([whole], [whole], count=1))
    assert note.startswith(
        "2 of 2 answers arrived at once, in one chunk or buffered by a proxy: their TTFT is the time of the whole"
    )


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("ttft_ms", "have the agent stream"),
        ("contention_rate_ttft", "have the agents stream"),
        ("system_tok_s", ""),
        ("changed_answers_rate", ""),
    ],
)
def test_an_undefined_metric_knows_what_to_do(metric: str, words: str) -> None:
    """Else there is nothing to say."""
    assert undefined_next(rounds_of([unstreamed(500)], [unstreamed(500)]), metric).startswith(words)
    assert bool(undefined_next(rounds_of([unstreamed(500)], [unstreamed(500)]), metric)) == bool(words)
