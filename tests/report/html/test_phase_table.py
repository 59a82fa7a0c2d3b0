"""Where a request's time goes: before its first token, and after."""

from dataclasses import asdict, replace

import pytest

from pytest_llmperf.judge.metrics.time_breakdown import times_of
from pytest_llmperf.report.html.phase_table import first_ns, phases_ms
from pytest_llmperf.report.html.timeline import _request
from tests.judge.build import MS, request, run

STREAMED = request(
    ttft_ms=40,
    total_ms=100,
    decode_ms=60,
    total_duration_ns=100 * MS,
    load_duration_ns=MS,
    prompt_eval_duration_ns=9 * MS,
)
THINKING = replace(STREAMED, reasoning_ns=(40 * MS,), arrivals_ns=(90 * MS, 100 * MS))
WHOLE = replace(STREAMED, arrivals_ns=(100 * MS,), streamed=False)
SILENT = replace(WHOLE, total_duration_ns=0, load_duration_ns=0, prompt_eval_duration_ns=0, eval_duration_ns=0)


@pytest.mark.parametrize("timing", [STREAMED, THINKING, WHOLE], ids=["streamed", "thinking", "not streamed"])
def test_decode_begins_with_the_first_token(timing) -> None:
    """Be it a thought; of an answer that is not streamed, the server says how long it decoded: that is no waiting."""
    assert first_ns(asdict(timing)) == 40 * MS
    assert phases_ms([asdict(run("x", timing))]) == {"waiting": 30.0, "prefill": 10.0, "decode": 60.0, "own": 0.0}


def test_nobody_knows_the_phases_of_an_answer_that_came_at_once() -> None:
    """Neither our clock nor the server says when it began."""
    assert first_ns(asdict(SILENT)) == 100 * MS
    assert _request(asdict(SILENT), 0)[1:3] == [-1, -1]
    times = times_of(run("x", SILENT))
    assert (times["prefill"], times["decode"], times["rest"]) == (0.0, 0.0, 100 * MS)


def test_an_answer_that_came_at_once_has_no_arrivals_to_draw() -> None:
    """One mark at its end would look like a token."""
    assert _request(asdict(WHOLE), 0)[5:] == []
    assert _request(asdict(THINKING), 0)[5:] == [40_000, 50_000, 10_000]
