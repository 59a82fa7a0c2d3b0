"""A server's figures against our own arrivals: what cannot be so makes its gates invalid, and nothing else does."""

from dataclasses import replace

import pytest

from pytest_llmperf.judge.gates.evaluate import judge
from pytest_llmperf.judge.metrics import contradictions
from pytest_llmperf.judge.metrics.series import all_series
from pytest_llmperf.judge.metrics.time_breakdown import times_of
from pytest_llmperf.judge.record import Record
from pytest_llmperf.measure.decoding.decode import decode
from pytest_llmperf.measure.wire.arrival import Piece
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.model import AgentRun, Bound, Outcome, RequestTiming, Round
from pytest_llmperf.report.wording.footnotes import notes_of
from pytest_llmperf.study.rows.round_rows import rows_of
from tests.judge.build import MS, gate, measurement_of

TEXT = " word" * 24


def request(*, tokens: int = 24, chunks: int = 24, gap_ms: float = 12, ttft_ms: float = 40, **changes) -> RequestTiming:
    """An honest answer: 24 tokens over 276 ms after a prefill of 35 ms, one chunk each, all figures as they were."""
    arrivals = tuple(int((ttft_ms + gap_ms * number) * MS) for number in range(chunks))
    honest = RequestTiming(
        sent_ns=0,
        done_ns=arrivals[-1] + MS,
        arrivals_ns=arrivals,
        eval_count=tokens,
        total_duration_ns=arrivals[-1],
        load_duration_ns=2 * MS,
        prompt_eval_count=9,
        prompt_eval_duration_ns=33 * MS,
        eval_duration_ns=int(gap_ms * chunks * MS),
        text=TEXT,
    )
    return replace(honest, **changes)


def measured(*requests: RequestTiming):
    """Three rounds of two agents, alone and together; the second agent's answers are honest."""
    requests = requests or (request(),)
    lying = AgentRun(agent="x", instance="a", start_ns=0, requests=requests)
    honest = AgentRun(agent="y", instance="b", start_ns=0, requests=(request(),) * len(requests))
    round_ = Round(
        index=0, order=("x", "y", "together"), solo=(honest_as("x", honest), honest), together=(lying, honest)
    )
    return measurement_of(*(replace(round_, index=index) for index in range(3)))


def honest_as(name: str, run: AgentRun) -> AgentRun:
    return replace(run, agent=name)


THROUGHPUT = gate("decode_tok_s", 50.0)
QUEUE = gate("queue_ms", 100.0, Bound.MAX)
SYSTEM = gate("system_tok_s", 10.0)

EVAL, TOTAL, LOAD, PROMPT = (f"{name}_duration_ns" for name in ("eval", "total", "load", "prompt_eval"))
LIES = {
    "decode in another unit": (THROUGHPUT, {EVAL: 288}, ("eval_duration 288 ns", "276 ms", "83 tok/s")),
    "decode in microseconds": (THROUGHPUT, {EVAL: 288_000}, ("0.288 ms", "276 ms")),
    "decode longer than the request": (THROUGHPUT, {EVAL: 288_000 * MS}, ("288,000 ms", "317 ms")),
    "a total longer than the request": (QUEUE, {TOTAL: 3_000 * MS}, ("3,000 ms", "317 ms")),
    "a total in another unit": (QUEUE, {TOTAL: 316}, ("316 ns", "317 ms")),
    "a total below its parts": (QUEUE, {TOTAL: 100 * MS, EVAL: 270 * MS}, ("100 ms", "305 ms")),
    "a prompt read after the first token": (QUEUE, {PROMPT: 250 * MS}, ("252 ms", "first chunk", "40 ms")),
    "a load that took longer": (QUEUE, {LOAD: 9_000 * MS}, ("9,033 ms", "40 ms")),
    "more tokens than the text can hold": (SYSTEM, {"eval_count": 24_000}, ("24000", "120 bytes")),
    "more tokens, and their rate": (THROUGHPUT, {"eval_count": 24_000}, ("24000", "120 bytes")),
    "more tokens than the text shown, and no time for them": (SYSTEM, {"eval_count": 400}, ("400", "120 bytes")),
    "more tokens than time": (SYSTEM, {"eval_count": 10_000_000, "text": ""}, ("10000000", "317 ms")),
}


@pytest.mark.parametrize(("asked", "lie", "words"), LIES.values(), ids=LIES)
def test_what_cannot_be_so_is_invalid_and_names_both(asked, lie: dict, words: tuple[str, ...]) -> None:
    """The server's figure and ours; the metric is shown nowhere, and a note says why."""
    assert judge(asked, measured(), looks=1).outcome is Outcome.PASS
    lying = measured(request(), request(**lie))
    verdict = judge(asked, lying, looks=1)
    assert verdict.outcome is Outcome.INVALID
    for word in ("round 0", "agent 'x', request 2 on instance a", *words):
        assert word in verdict.reason
    assert asked.metric not in all_series(lying)
    (note,) = [text for text in notes_of(Record(test="t", measurement=lying), None) if "the server says" in text]
    assert note.startswith("in 3 of 24 requests the server says")


@pytest.mark.parametrize("lie", [lie for _, lie, _ in LIES.values()], ids=LIES)
def test_what_our_own_clock_measures_is_judged_all_the_same(lie: dict) -> None:
    """Balance and TTFT need no word of the server's; where time went is then told by our clock alone."""
    lying = measured(request(**lie))
    for asked in (gate("efficiency_pct", 90.0), gate("ttft_ms", 100.0, Bound.MAX)):
        assert judge(asked, lying, looks=1).outcome is Outcome.PASS
    times = times_of(lying.rounds[0].together[0])
    assert (times["prefill"], times["load"], times["queue"]) == (40 * MS, 0, 0)


@pytest.mark.parametrize("lie", [lie for _, lie, _ in LIES.values()], ids=LIES)
def test_experiments_believe_it_as_little(lie: dict) -> None:
    """Their rows have no figure of the server's there."""
    honest, lying = (
        rows_of("m", {}, Record(test="t", measurement=measurement))[0]
        for measurement in (measured(), measured(request(**lie)))
    )
    assert None not in (honest.throughput_gap_tok_s, honest.load_ms, honest.queue_ms, honest.server_ttft_ms)
    assert {lying.throughput_gap_tok_s, lying.load_ms, lying.queue_ms, lying.server_ttft_ms} == {None}
    assert lying.parallel_efficiency_pct == pytest.approx(honest.parallel_efficiency_pct)


HONEST = {
    "as it is": {},
    "all chunks at once, through a proxy that buffers": {"arrivals_ns": (316 * MS,) * 24, "merged": 23},
    "three bursts": {"arrivals_ns": (100 * MS,) * 8 + (200 * MS,) * 8 + (316 * MS,) * 8},
    "one long gap in the network": {
        "arrivals_ns": (*(int((40 + 12 * n) * MS) for n in range(12)), *(int((1900 + 12 * n) * MS) for n in range(12))),
        "done_ns": 2100 * MS,
    },
    "a slow network, twice the time": {
        "arrivals_ns": tuple(int((40 + 24 * n) * MS) for n in range(24)),
        "done_ns": 600 * MS,
    },
    "no durations": {
        "total_duration_ns": 0,
        "load_duration_ns": 0,
        "prompt_eval_duration_ns": 0,
        "eval_duration_ns": 0,
    },
    "a clock of 16 ms, rounded up": {TOTAL: 336 * MS, EVAL: 304 * MS},
    "several tokens a chunk": {"eval_count": 96},
    "tokens without text": {"eval_count": 64, "text": "ab"},
    "thoughts": {"text": "ab", "reasoning": TEXT * 8, "eval_count": 300},
    "thoughts that are counted and not shown": {
        "eval_count": 824,
        "arrivals_ns": tuple(int((9_640 + 12 * n) * MS) for n in range(24)),
        "done_ns": 9_920 * MS,
        **dict.fromkeys(("eval_duration_ns", "total_duration_ns"), 0),
    },
    "a tool call": {"text": "ab", "wordless_bytes": 900, "eval_count": 300},
    "an answer of many bytes a token": {"text": "\N{GRINNING FACE}" * 24, "eval_count": 90},
    "no content": {"arrivals_ns": (), "text": "", "eval_count": 1},
}


@pytest.mark.parametrize("seen", HONEST.values(), ids=HONEST)
def test_honest_servers_are_not_accused(seen: dict) -> None:
    """Batched arrivals, stalls, slow lines, coarse clocks, tokens that show no text."""
    assert contradictions.contradictions(request(**seen)) == ()


def answer(*, eval_duration: int, message: str = '"response": "%s"') -> Exchange:
    """24 chunks over 276 ms, as bytes, and what the server says of them."""
    lines = [f'{{{message % " word"}, "done": false}}' for _ in range(24)]
    figures = f'"done_reason": "stop", "eval_count": 24, "eval_duration": {eval_duration}'
    lines.append(f'{{"response": "", "done": true, {figures}}}')
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
    datas = [head, *(f"{line}\n".encode() for line in lines)]
    at_ns = [int((40 + 12 * max(number - 1, 0)) * MS) for number in range(len(datas))]
    pieces = tuple(Piece(ns, ns, data) for ns, data in zip(at_ns, datas, strict=True))
    return Exchange(sent_ns=0, pieces=pieces, source="kernel", label="agent x")


def test_an_answer_that_arrived_is_read_and_not_believed() -> None:
    """From bytes to verdict: 288 for `eval_duration` is no rate of 83 million tok/s; 288,000,000 is one of 83."""
    lying, honest = (decode(answer(eval_duration=ns)) for ns in (288, 288 * MS))
    verdict = judge(THROUGHPUT, measured(lying), looks=1)
    assert verdict.outcome is Outcome.INVALID
    assert "83,333,333 tok/s" in verdict.reason
    assert judge(THROUGHPUT, measured(honest), looks=1).outcome is Outcome.PASS


def test_tool_calls_and_counted_thoughts_leave_room_for_tokens() -> None:
    """The JSON of a call, and what `completion_tokens_details` says."""
    calls = answer(eval_duration=288 * MS, message='"message": {"tool_calls": [{"function": {"name": "%s"}}]}')
    assert decode(calls).wordless_bytes > 24 * 40
    body = (
        b'{"choices": [{"index": 0, "message": {"content": "ab"}, "finish_reason": "stop"}], "usage": '
        b'{"completion_tokens": 500, "prompt_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 498}}}'
    )
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    whole = Exchange(sent_ns=0, pieces=(Piece(90 * MS, 90 * MS, head + body),), source="kernel", label="agent x")
    assert contradictions.believable(decode(whole))


def test_thoughts_that_every_chunk_counts_are_counted_once() -> None:
    """Servers that give their usage so far with each chunk begin at the first token each time."""
    usage = '"usage": {"completion_tokens": %d, "completion_tokens_details": {"reasoning_tokens": %d}}'
    choice = '"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": %s}]'
    chunks = [(choice % reason, usage % (count + 1, count)) for count, reason in ((10, "null"), (12, '"stop"'))]
    body = "".join(f"data: {{{', '.join(parts)}}}\n\n" for parts in chunks).encode() + b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    stream = Exchange(sent_ns=0, pieces=(Piece(90 * MS, 90 * MS, head + body),), source="kernel", label="agent x")
    assert (decode(stream).wordless_bytes, decode(stream).eval_count) == (24, 13)
